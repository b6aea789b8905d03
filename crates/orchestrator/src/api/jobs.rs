//! Jobs and their runs.

use federation::RunId;
use federation::event::Event;
use federation::job::{JobDraft, JobSpec};
use federation::run::Command;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use proto::v1;
use proto::v1::jobs_server::Jobs;
use proto::v1::{
    CancelRequest, GetRunRequest, ListRoundsRequest, ListRoundsResponse, ListRunsRequest,
    ListRunsResponse, ModelVersion, PauseRequest, ReplayRequest, ReplayResponse, ResumeRequest,
    Run, SubmitRequest, SubmitResponse, ValidateRequest, ValidateResponse, WatchRequest,
};
use seams::bell::Hearer;
use telemetry::trace::Traced;
use tonic::{Request, Response, Status};

use super::{Api, page, status};
use crate::store::{EVENTS_AT_ONCE, RunRow, Store, StoreError, StoredEvent};
use crate::study::Study;
use crate::submit;

#[tonic::async_trait]
impl Jobs for Api {
    async fn submit(
        &self,
        request: Request<SubmitRequest>,
    ) -> Result<Response<SubmitResponse>, Status> {
        let SubmitRequest {
            idempotency_key,
            job,
        } = request.into_inner();
        let draft = draft(job)?;
        // A caller without a key gets a run for every call.
        let key = if idempotency_key.is_empty() {
            Study::new_key()
        } else {
            idempotency_key
        };
        // In a task of its own: a caller who leaves must not leave a run that nobody drives.
        let api = self.clone();
        let submitting = async move {
            let submitted = submit::submit(&api.study, draft, key).await;
            submitted.inspect(|(row, _)| api.reconciler.start(row.run))
        };
        let submitting = tokio::spawn(submitting.in_current());
        let (row, existed) = joined(submitting.await)?.map_err(status::submit)?;
        let run = self.run(row).await?;
        Ok(Response::new(SubmitResponse {
            run: Some(run),
            existed,
        }))
    }

    async fn validate(
        &self,
        request: Request<ValidateRequest>,
    ) -> Result<Response<ValidateResponse>, Status> {
        let draft = draft(request.into_inner().job)?;
        let spec = JobSpec::try_from(draft).map_err(|invalid| status::submit(invalid.into()))?;
        let checked = submit::check(&self.study, spec)
            .await
            .map_err(status::submit)?;
        let cohort = checked
            .spec
            .cohort
            .size_among(checked.spec.partition.clients.get());
        Ok(Response::new(ValidateResponse {
            parameters: checked.architecture.num_parameters() as u64,
            cohort_size: u32::try_from(cohort).unwrap_or(u32::MAX),
        }))
    }

    async fn get(&self, request: Request<GetRunRequest>) -> Result<Response<Run>, Status> {
        let row = self.find(&request.into_inner().run).await?;
        Ok(Response::new(self.run(row).await?))
    }

    async fn list(
        &self,
        request: Request<ListRunsRequest>,
    ) -> Result<Response<ListRunsResponse>, Status> {
        let ListRunsRequest {
            page_size,
            page_token,
        } = request.into_inner();
        let size = page::size(page_size);
        let before: Option<RunId> = page::start(&page_token)?;
        let rows = self
            .study
            .store
            .runs(before, size)
            .await
            .map_err(status::store)?;
        let next_page_token = page::next(&rows, size, |row| row.run.to_string());
        let mut runs = Vec::with_capacity(rows.len());
        for row in rows {
            runs.push(self.run(row).await?);
        }
        Ok(Response::new(ListRunsResponse {
            runs,
            next_page_token,
        }))
    }

    async fn cancel(&self, request: Request<CancelRequest>) -> Result<Response<Run>, Status> {
        self.command(&request.into_inner().run, Command::Cancel)
            .await
    }

    async fn pause(&self, request: Request<PauseRequest>) -> Result<Response<Run>, Status> {
        self.command(&request.into_inner().run, Command::Pause)
            .await
    }

    async fn resume(&self, request: Request<ResumeRequest>) -> Result<Response<Run>, Status> {
        self.command(&request.into_inner().run, Command::Resume)
            .await
    }

    type WatchStream = BoxStream<'static, Result<v1::Event, Status>>;

    async fn watch(
        &self,
        request: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let WatchRequest { run, cursor } = request.into_inner();
        let run = self.find(&run).await?.run;
        let store = self.study.store.clone();
        let commits = store.commits();
        let watching = Watching {
            store,
            commits,
            run,
            cursor,
            is_up_to_date: false,
            has_told: false,
            ended: false,
        };
        let closing = self.closing.clone().cancelled_owned();
        let events = stream::unfold(watching, Watching::next)
            .flatten()
            .take_until(closing);
        Ok(Response::new(events.boxed()))
    }

    async fn list_rounds(
        &self,
        request: Request<ListRoundsRequest>,
    ) -> Result<Response<ListRoundsResponse>, Status> {
        let page = self.rounds_of(request.into_inner()).await?;
        Ok(Response::new(page))
    }

    async fn replay(
        &self,
        request: Request<ReplayRequest>,
    ) -> Result<Response<ReplayResponse>, Status> {
        let answer = self.replay_round(request.into_inner()).await?;
        Ok(Response::new(answer))
    }
}

impl Api {
    pub(super) async fn find(&self, run: &str) -> Result<RunRow, Status> {
        let id: RunId = run.parse().map_err(status::invalid_id)?;
        let row = self.study.store.run(id).await.map_err(status::store)?;
        row.ok_or_else(|| status::not_found("run", run, "`pangea runs` lists the runs there are"))
    }

    async fn command(&self, run: &str, command: Command) -> Result<Response<Run>, Status> {
        let id = self.find(run).await?.run;
        let api = self.clone();
        // In a task of its own: what is stored must be heard of, even if the caller leaves.
        let commanding = async move {
            let commanded = api.study.store.command(id, command, api.study.now()).await;
            api.reconciler.wake(id).await;
            commanded
        };
        let commanding = tokio::spawn(commanding.in_current());
        let Some(row) = joined(commanding.await)?.map_err(status::store)? else {
            let hint = "it was there a moment ago";
            return Err(status::not_found("run", run, hint));
        };
        let row = row.map_err(status::not_allowed)?;
        Ok(Response::new(self.run(row).await?))
    }

    async fn run(&self, row: RunRow) -> Result<Run, Status> {
        let model = self
            .study
            .store
            .model_of(row.run)
            .await
            .map_err(status::store)?;
        let state: v1::RunState = row.state.into();
        Ok(Run {
            run: row.run.to_string(),
            name: row.job.name.clone(),
            state: state.into(),
            reason: row.reason,
            job: Some((&row.job).into()),
            job_digest: row.job_digest.to_string(),
            dataset_digest: row.dataset_digest.to_string(),
            rounds_committed: row.rounds_committed,
            accuracy: row.accuracy,
            loss: row.loss,
            model: model.map(|model| ModelVersion {
                name: model.name,
                version: model.version,
                digest: model.manifest.model.digest.to_string(),
            }),
            created_at_ms: row.created_at.0,
            finished_at_ms: row.finished_at.map_or(0, |time| time.0),
        })
    }
}

fn joined<T>(result: Result<T, tokio::task::JoinError>) -> Result<T, Status> {
    result.map_err(|panicked| status::internal(panicked.to_string()))
}

fn draft(job: Option<v1::Job>) -> Result<JobDraft, Status> {
    let job = job.ok_or_else(|| status::invalid_field("job", "is missing"))?;
    JobDraft::try_from(&job).map_err(status::invalid)
}

/// A run's events from a cursor on.
struct Watching {
    store: Store,
    commits: Hearer,
    run: RunId,
    cursor: u64,
    // Nothing more is there until the next commit.
    is_up_to_date: bool,
    has_told: bool,
    ended: bool,
}

type Events = stream::Iter<std::vec::IntoIter<Result<v1::Event, Status>>>;

impl Watching {
    /// The events that are there, or the next ones to come; nothing after the run's last.
    async fn next(mut self) -> Option<(Events, Self)> {
        while !self.ended {
            if self.is_up_to_date {
                self.commits.rung().await;
            }
            self.commits.catch_up();
            let (is_over, mut events) = match self.look().await {
                Ok(seen) => seen,
                Err(error) => {
                    self.ended = true;
                    let failed = vec![Err(status::store(error))];
                    return Some((stream::iter(failed), self));
                }
            };
            // A driver that had not heard yet may have written facts after it.
            if let Some(end) = events.iter().position(|stored| is_last(&stored.event)) {
                events.truncate(end + 1);
                self.ended = true;
            }
            self.is_up_to_date = events.len() < EVENTS_AT_ONCE;
            if let Some(last) = events.last() {
                self.cursor = last.sequence;
                self.has_told = true;
                let messages: Vec<_> = events
                    .into_iter()
                    .map(|stored| {
                        let (time, event) = (stored.time, &stored.event);
                        Ok(v1::Event::recorded(self.run, stored.sequence, time, event))
                    })
                    .collect();
                return Some((stream::iter(messages), self));
            }
            if is_over {
                return None;
            }
        }
        None
    }

    /// Whether the run is over, and the events after the cursor. Asked in this order: a run that
    /// ends in between has its last event among them, as has one that told of something else before.
    async fn look(&self) -> Result<(bool, Vec<StoredEvent>), StoreError> {
        if self.has_told {
            let events = self.store.events_after(self.run, self.cursor).await?;
            return Ok((false, events));
        }
        let row = self.store.run(self.run).await?;
        let is_over = row.is_some_and(|row| row.state.is_final());
        let events = self.store.events_after(self.run, self.cursor).await?;
        Ok((is_over, events))
    }
}

fn is_last(event: &Event) -> bool {
    matches!(event, Event::RunStateChanged { state, .. } if state.is_final())
}
