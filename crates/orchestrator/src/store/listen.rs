//! Hearing of what other processes commit.

use std::time::Duration;

use seams::bell::Bell;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use super::leader::CHANNEL;

/// Between looks while nothing is heard. A watcher is that late at most.
const POLL: Duration = Duration::from_secs(1);

/// After so long a silence, the server is asked whether it is still there.
const SILENCE: Duration = Duration::from_secs(10);

/// Wakes whoever waits for commits when another process has made one, until it is dropped. While
/// the server cannot be heard, it wakes them once a second, to look for themselves.
pub(super) fn listen(
    options: PgConnectOptions,
    name: String,
    commits: Bell,
) -> AbortOnDropHandle<()> {
    let listening = async move {
        let mut deaf = false;
        loop {
            let error = match hear(&options, &name, &commits, &mut deaf).await {
                Ok(never) => match never {},
                Err(error) => error,
            };
            if !std::mem::replace(&mut deaf, true) {
                warn!(error = %error, "other processes' commits are not heard, but looked for");
            }
            sleep(POLL).await;
            commits.ring();
        }
    };
    AbortOnDropHandle::new(tokio::spawn(listening))
}

/// Listens for as long as that goes well.
async fn hear(
    options: &PgConnectOptions,
    name: &str,
    commits: &Bell,
    deaf: &mut bool,
) -> sqlx::Result<std::convert::Infallible> {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(POLL)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_lazy_with(options.clone());
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    if std::mem::take(deaf) {
        info!("other processes' commits are heard again");
    }
    // What was committed before it listened is not told.
    commits.ring();
    loop {
        match timeout(SILENCE, listener.try_recv()).await {
            Ok(told) => match told? {
                Some(told) if told.payload() == name => {}
                Some(_) => commits.ring(),
                None => return Err(std::io::Error::from(std::io::ErrorKind::BrokenPipe).into()),
            },
            Err(_silent) => {
                let asking = sqlx::query("SELECT 1").execute(&mut listener);
                timeout(SILENCE, asking)
                    .await
                    .map_err(|_elapsed| std::io::Error::from(std::io::ErrorKind::TimedOut))??;
            }
        }
    }
}
