//! Jobs and the runs that come of them.

use federation::job::JobSpec;
use proto::transport::Outgoing;
use proto::v1;
use proto::v1::jobs_client::JobsClient;
use uuid::Uuid;

use crate::{Client, ClientError, PAGE_SIZE};

/// What became of a submitted job.
#[derive(Debug, Clone, PartialEq)]
pub struct Submitted {
    /// The run that executes it.
    pub run: v1::Run,
    /// Whether an earlier call with the same key had started the run.
    pub existed: bool,
}

/// An idempotency key that nobody else has.
#[must_use]
pub fn random_key() -> String {
    Uuid::new_v4().to_string()
}

impl Client {
    /// Starts a run of `job`, once for each `key` however often it is called.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; a key that stands for another job is refused.
    pub async fn submit(&self, job: &JobSpec, key: String) -> Result<Submitted, ClientError> {
        let request = v1::SubmitRequest {
            idempotency_key: key,
            job: Some(job.draft().into()),
        };
        let answer = self.jobs_service().submit(request).await;
        let answer = answer.map_err(|status| self.failed(&status))?.into_inner();
        let what = "run";
        Ok(Submitted {
            run: answer.run.ok_or(ClientError::Incomplete { what })?,
            existed: answer.existed,
        })
    }

    /// Checks a job as [`Client::submit`] would, and starts nothing.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn validate(&self, job: &JobSpec) -> Result<v1::ValidateResponse, ClientError> {
        let job = Some(job.draft().into());
        let answer = self
            .jobs_service()
            .validate(v1::ValidateRequest { job })
            .await;
        Ok(answer.map_err(|status| self.failed(&status))?.into_inner())
    }

    /// The run with the id `run`.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn run(&self, run: &str) -> Result<v1::Run, ClientError> {
        let run = run.to_owned();
        let answer = self.jobs_service().get(v1::GetRunRequest { run }).await;
        Ok(answer.map_err(|status| self.failed(&status))?.into_inner())
    }

    /// Every run, the newest first.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn runs(&self) -> Result<Vec<v1::Run>, ClientError> {
        let mut runs = Vec::new();
        let mut page_token = String::new();
        loop {
            let page = self.page_of_runs(PAGE_SIZE, page_token).await?;
            runs.extend(page.runs);
            if page.next_page_token.is_empty() {
                return Ok(runs);
            }
            page_token = page.next_page_token;
        }
    }

    /// The run that a person means by `text`: `latest`, an id, or the beginning of one.
    ///
    /// # Errors
    ///
    /// [`ClientError::NoRuns`], [`ClientError::UnknownRun`] and [`ClientError::AmbiguousRun`].
    pub async fn find_run(&self, text: &str) -> Result<v1::Run, ClientError> {
        if text == "latest" {
            let newest = self.page_of_runs(1, String::new()).await?;
            return newest.runs.into_iter().next().ok_or(ClientError::NoRuns);
        }
        if Uuid::parse_str(text).is_ok() {
            return self.run(text).await;
        }
        let mut runs = self.runs().await?;
        runs.retain(|run| run.run.starts_with(text));
        match &runs[..] {
            [] => Err(ClientError::UnknownRun {
                text: text.to_owned(),
            }),
            [_] => Ok(runs.remove(0)),
            [first, second, ..] => Err(ClientError::AmbiguousRun {
                text: text.to_owned(),
                count: runs.len(),
                first: first.run.clone(),
                second: second.run.clone(),
            }),
        }
    }

    /// Ends a run.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; a run that has ended otherwise is refused.
    pub async fn cancel(&self, run: &str) -> Result<v1::Run, ClientError> {
        let request = v1::CancelRequest {
            run: run.to_owned(),
        };
        let answer = self.jobs_service().cancel(request).await;
        Ok(answer.map_err(|status| self.failed(&status))?.into_inner())
    }

    /// Holds a run; its open round waits.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; a run that has ended is refused.
    pub async fn pause(&self, run: &str) -> Result<v1::Run, ClientError> {
        let request = v1::PauseRequest {
            run: run.to_owned(),
        };
        let answer = self.jobs_service().pause(request).await;
        Ok(answer.map_err(|status| self.failed(&status))?.into_inner())
    }

    /// Lets a paused run go on.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; a run that has ended is refused.
    pub async fn resume(&self, run: &str) -> Result<v1::Run, ClientError> {
        let request = v1::ResumeRequest {
            run: run.to_owned(),
        };
        let answer = self.jobs_service().resume(request).await;
        Ok(answer.map_err(|status| self.failed(&status))?.into_inner())
    }

    /// What each round of a run did, from the first.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn rounds(&self, run: &str) -> Result<Vec<v1::Round>, ClientError> {
        let mut rounds = Vec::new();
        let mut request = v1::ListRoundsRequest {
            run: run.to_owned(),
            page_size: PAGE_SIZE,
            page_token: String::new(),
        };
        loop {
            let answer = self.jobs_service().list_rounds(request.clone()).await;
            let page = answer.map_err(|status| self.failed(&status))?.into_inner();
            rounds.extend(page.rounds);
            if page.next_page_token.is_empty() {
                return Ok(rounds);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Makes the model of a committed round again and compares it with the one that stands. Takes
    /// as long as the aggregation did; dropped, it ends on the other side too.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; a round whose updates are gone is refused.
    pub async fn replay(&self, run: &str, round: u32) -> Result<v1::ReplayResponse, ClientError> {
        let run = run.to_owned();
        let request = v1::ReplayRequest { run, round };
        let answer = self.jobs_service().replay(request).await;
        Ok(answer.map_err(|status| self.failed(&status))?.into_inner())
    }

    async fn page_of_runs(
        &self,
        page_size: u32,
        page_token: String,
    ) -> Result<v1::ListRunsResponse, ClientError> {
        let request = v1::ListRunsRequest {
            page_size,
            page_token,
        };
        let answer = self.jobs_service().list(request).await;
        Ok(answer.map_err(|status| self.failed(&status))?.into_inner())
    }

    pub(crate) fn jobs_service(&self) -> JobsClient<Outgoing> {
        JobsClient::new(self.channel.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::{Script, Server};

    const RUNS: [&str; 3] = [
        "0199f0c3-6a1e-7cc0-8000-2f5d9a1b3c4d",
        "0199f0c2-6a1e-7cc0-8000-2f5d9a1b3c4d",
        "0199f0c2-0000-7cc0-8000-2f5d9a1b3c4d",
    ];

    fn client(runs: &[&str]) -> Client {
        let run = |id: &&str| v1::Run {
            run: (*id).to_owned(),
            ..v1::Run::default()
        };
        let runs = runs.iter().map(run).collect();
        Server::new(Script {
            runs,
            ..Script::default()
        })
        .jobs()
    }

    #[tokio::test]
    async fn a_list_is_followed_to_its_last_page() {
        let runs = client(&RUNS).runs().await.unwrap();
        assert_eq!(
            runs.iter().map(|run| &run.run[..]).collect::<Vec<_>>(),
            RUNS
        );
    }

    #[tokio::test]
    async fn a_run_is_found_by_id_by_beginning_and_as_the_latest() {
        let client = client(&RUNS);
        for (text, found) in [
            ("latest", 0),
            (RUNS[1], 1),
            ("0199f0c3", 0),
            ("0199f0c2-0", 2),
        ] {
            assert_eq!(
                client.find_run(text).await.unwrap().run,
                RUNS[found],
                "{text}"
            );
        }
    }

    #[tokio::test]
    async fn what_means_no_run_or_two_is_refused() {
        let told = client(&RUNS)
            .find_run("0199f0c2")
            .await
            .unwrap_err()
            .to_string();
        assert!(
            told.starts_with("2 runs have an id that begins with \"0199f0c2\""),
            "{told}"
        );
        let told = client(&RUNS)
            .find_run("ffff")
            .await
            .unwrap_err()
            .to_string();
        assert!(
            told.starts_with("no run has an id that begins with \"ffff\""),
            "{told}"
        );
        let none = client(&[]).find_run("latest").await.unwrap_err();
        assert!(matches!(none, ClientError::NoRuns));
    }

    #[tokio::test]
    async fn a_refusal_carries_the_servers_words_and_reason() {
        let error = client(&[]).run(RUNS[0]).await.unwrap_err();
        let expected = format!("run {} is not known (RUN_NOT_FOUND)", RUNS[0]);
        assert_eq!(error.to_string(), expected);
    }

    #[tokio::test]
    async fn a_place_where_nobody_listens_is_told_with_what_to_do() {
        let nobody = Client::connect(&crate::Address::Pipe(proto::transport::Pipe::default()));
        let told = nobody.runs().await.unwrap_err().to_string();
        assert!(
            told.starts_with("nobody answers at this process (is the orch"),
            "{told}"
        );
        assert!(told.ends_with("connection refused"), "{told}");
    }
}
