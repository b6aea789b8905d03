//! A way to LocalStack that a test can cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Passes bytes on between whoever connects and one server.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) endpoint: String,
    is_cut: watch::Sender<bool>,
    /// Whether connections wait before a byte is passed on.
    is_held: watch::Sender<bool>,
    /// Bytes that the next connection gets from the server before it breaks.
    rest: Arc<AtomicUsize>,
}

impl Proxy {
    pub(crate) async fn before(endpoint: &str) -> Self {
        let server = endpoint.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap();
        let (is_cut, cut) = watch::channel(false);
        let rest = Arc::new(AtomicUsize::new(usize::MAX));
        let (is_held, held) = watch::channel(false);
        tokio::spawn(accept(listener, server, cut, held, Arc::clone(&rest)));
        Self {
            endpoint: format!("http://{own}"),
            is_cut,
            is_held,
            rest,
        }
    }

    /// Ends all connections, and each new one at once.
    pub(crate) fn cut(&self) {
        self.is_cut.send_replace(true);
    }

    pub(crate) fn mend(&self) {
        self.is_cut.send_replace(false);
    }

    /// Lets connections that begin now wait until they are let go.
    pub(crate) fn hold(&self) {
        self.is_held.send_replace(true);
    }

    pub(crate) fn let_go(&self) {
        self.is_held.send_replace(false);
    }

    /// How many wait.
    pub(crate) fn held(&self) -> usize {
        // Each connection has a receiver, and so has the one who accepts.
        self.is_held.receiver_count() - 1
    }

    /// Breaks the connection that next gets so many bytes, once.
    pub(crate) fn break_after(&self, bytes: usize) {
        self.rest.store(bytes, Ordering::SeqCst);
    }

    /// Whether what `break_after` announced has happened.
    pub(crate) fn has_broken(&self) -> bool {
        self.rest.load(Ordering::SeqCst) == usize::MAX
    }
}

async fn accept(
    listener: TcpListener,
    server: String,
    cut: watch::Receiver<bool>,
    held: watch::Receiver<bool>,
    rest: Arc<AtomicUsize>,
) {
    while let Ok((client, _address)) = listener.accept().await {
        let (server, mut cut, rest) = (server.clone(), cut.clone(), Arc::clone(&rest));
        let mut held = held.clone();
        tokio::spawn(async move {
            let connected = async {
                let let_go = held.wait_for(|is_held| !*is_held).await.is_ok();
                drop(held);
                if let_go {
                    connect(client, &server, &rest).await;
                }
            };
            tokio::select! {
                _cut = cut.wait_for(|is_cut| *is_cut) => {}
                () = connected => {}
            }
        });
    }
}

async fn connect(client: TcpStream, server: &str, rest: &AtomicUsize) {
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let endless = AtomicUsize::new(usize::MAX);
    tokio::select! {
        () = pass(from_client, to_server, &endless) => {}
        () = pass(from_server, to_client, rest) => {}
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, rest: &AtomicUsize) {
    let (mut buffer, mut passed) = (vec![0; 64 * 1024], 0);
    loop {
        let Ok(count @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        passed += count;
        let limit = rest.load(Ordering::SeqCst);
        if passed > limit {
            rest.store(usize::MAX, Ordering::SeqCst);
            return;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
