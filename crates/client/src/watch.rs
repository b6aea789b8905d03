//! The events of a run as they happen, across broken connections.

use std::time::Duration;

use futures::{Stream, stream};
use proto::v1::event::Kind;
use proto::{fault, v1};
use tonic::{Status, Streaming};

use crate::{Client, ClientError, RunState};

/// How long a watch goes on without contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Between the first two attempts; doubles with each one.
    pub first_wait: Duration,
    /// Between any two attempts.
    pub longest_wait: Duration,
    /// Without contact, until the watch gives up. Covers a restart of the orchestrator.
    pub silence: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            first_wait: Duration::from_millis(100),
            longest_wait: Duration::from_secs(5),
            silence: Duration::from_secs(120),
        }
    }
}

impl Client {
    /// Every event of `run` after `cursor`, each once and in order, then each new one; ends after
    /// the run's last.
    ///
    /// When the connection breaks the watch goes on from the last event, and gives up with
    /// [`ClientError::ContactLost`] when `patience` runs out.
    pub fn watch(
        &self,
        run: &str,
        cursor: u64,
        patience: Patience,
    ) -> impl Stream<Item = Result<v1::Event, ClientError>> + Send + 'static {
        let watch = Watch {
            client: self.clone(),
            run: run.to_owned(),
            cursor,
            patience,
            connection: None,
            silence: None,
            ended: false,
        };
        stream::try_unfold(watch, |mut watch| async move {
            Ok(watch.next().await?.map(|event| (event, watch)))
        })
    }
}

struct Watch {
    client: Client,
    run: String,
    cursor: u64,
    patience: Patience,
    connection: Option<Connection>,
    silence: Option<Silence>,
    /// Whether the run is known to have ended. What the server sends from then on, to the end of
    /// a stream, is complete.
    ended: bool,
}

struct Connection {
    events: Streaming<v1::Event>,
    opened_at: Duration,
    /// Whether the run had ended before the stream was opened.
    complete: bool,
}

struct Silence {
    began_at: Duration,
    next_wait: Duration,
}

impl Watch {
    async fn next(&mut self) -> Result<Option<v1::Event>, ClientError> {
        loop {
            match self.next_from_stream().await {
                Ok(Some(event)) if event.sequence <= self.cursor => {}
                Ok(Some(event)) => return self.advance(event).map(Some),
                Ok(None) if self.is_complete() => return Ok(None),
                Ok(None) => self.ask_whether_ended().await?,
                Err(status) => self.wait_after(&status).await?,
            }
        }
    }

    async fn next_from_stream(&mut self) -> Result<Option<v1::Event>, Status> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(Connection {
                events: open(&self.client, &self.run, self.cursor).await?,
                opened_at: self.client.clock.elapsed(),
                complete: self.ended,
            }),
        };
        connection.events.message().await
    }

    fn advance(&mut self, event: v1::Event) -> Result<v1::Event, ClientError> {
        if event.sequence != self.cursor + 1 {
            return Err(ClientError::EventsMissing {
                run: self.run.clone(),
                cursor: self.cursor,
                next: event.sequence,
            });
        }
        self.cursor = event.sequence;
        self.silence = None;
        if let Some(Kind::RunStateChanged(change)) = &event.kind
            && is_final(change.state())
        {
            self.ended = true;
            if let Some(connection) = &mut self.connection {
                connection.complete = true;
            }
        }
        Ok(event)
    }

    /// Whether the end of the stream is the end of the run's events.
    fn is_complete(&self) -> bool {
        self.connection
            .as_ref()
            .is_some_and(|connection| connection.complete)
    }

    /// The stream ended without the run's end in it: either the server shut down, or the run had
    /// ended before the cursor.
    async fn ask_whether_ended(&mut self) -> Result<(), ClientError> {
        let request = v1::GetRunRequest {
            run: self.run.clone(),
        };
        match self.client.jobs_service().get(request).await {
            Ok(run) if is_final(run.get_ref().state()) => {
                self.ended = true;
                self.connection = None;
                Ok(())
            }
            Ok(_going_on) => {
                let ended_early =
                    Status::unavailable("the orchestrator ended the stream of events");
                self.wait_after(&ended_early).await
            }
            Err(status) => self.wait_after(&status).await,
        }
    }

    /// Waits before the next attempt, unless it would be of no use or patience has run out.
    async fn wait_after(&mut self, status: &Status) -> Result<(), ClientError> {
        if !fault::is_transient(status) {
            return Err(self.client.failed(status));
        }
        let now = self.client.clock.elapsed();
        if let Some(connection) = self.connection.take()
            && now.saturating_sub(connection.opened_at) > self.patience.longest_wait
        {
            // A stream that lasted was contact, even when nothing happened in the run.
            self.silence = None;
        }
        let silence = self.silence.get_or_insert(Silence {
            began_at: now,
            next_wait: self.patience.first_wait,
        });
        let lasted = now.saturating_sub(silence.began_at);
        if lasted >= self.patience.silence {
            return Err(ClientError::ContactLost {
                run: self.run.clone(),
                cursor: self.cursor,
                silence: lasted,
                last: Box::new(self.client.failed(status)),
            });
        }
        let wait = silence.next_wait.min(self.patience.longest_wait);
        silence.next_wait = wait * 2;
        self.client.clock.sleep(wait).await;
        Ok(())
    }
}

async fn open(client: &Client, run: &str, cursor: u64) -> Result<Streaming<v1::Event>, Status> {
    let request = v1::WatchRequest {
        run: run.to_owned(),
        cursor,
    };
    let answer = client.jobs_service().watch(request).await?;
    Ok(answer.into_inner())
}

fn is_final(state: v1::RunState) -> bool {
    RunState::try_from(state).is_ok_and(RunState::is_final)
}

#[cfg(test)]
mod tests;
