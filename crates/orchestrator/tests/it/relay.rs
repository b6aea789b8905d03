//! A network between a run store and its server, which fails when a test wants it to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// Passes connections on, until it is dropped: then none is left, and new ones are refused.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    loses_commits: Arc<AtomicBool>,
    _passing: AbortOnDropHandle<()>,
}

impl Relay {
    /// At `address` or, if that is free to choose, anywhere; in front of `server`, a host and port.
    pub(crate) async fn start(address: &str, server: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let loses_commits = Arc::new(AtomicBool::new(false));
        let (server, loses) = (server.to_owned(), Arc::clone(&loses_commits));
        let passing = async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.unwrap();
                connections.spawn(pass(client, server, Arc::clone(&loses)));
            }
        };
        Self {
            address,
            loses_commits,
            _passing: AbortOnDropHandle::new(tokio::spawn(passing)),
        }
    }

    /// Lets the next commit reach the server and cuts the connection before the answer comes back.
    pub(crate) fn lose_next_commit(&self) {
        self.loses_commits.store(true, Ordering::SeqCst);
    }

    pub(crate) fn has_lost_it(&self) -> bool {
        !self.loses_commits.load(Ordering::SeqCst)
    }
}

async fn pass(mut client: TcpStream, mut server: TcpStream, loses_commits: Arc<AtomicBool>) {
    let (mut asked, mut answered) = (vec![0; 65536], vec![0; 65536]);
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let Ok(count @ 1..) = read else { return };
                let asked = &asked[..count];
                if server.write_all(asked).await.is_err() { return };
                let is_commit = asked.windows(7).any(|word| word == b"COMMIT\0");
                if is_commit && loses_commits.swap(false, Ordering::SeqCst) {
                    // The answer comes when it is done.
                    drop(server.read(&mut answered).await);
                    return;
                }
            }
            read = server.read(&mut answered) => {
                let Ok(count @ 1..) = read else { return };
                if client.write_all(&answered[..count]).await.is_err() { return };
            }
        }
    }
}
