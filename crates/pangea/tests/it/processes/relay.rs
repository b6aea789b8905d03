//! A network between two processes, which a test makes slow, still or broken while they talk.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::service::PATIENCE;

/// What is passed on at a time: so little that those who share a slow link take turns.
const PIECE: usize = 4 * 1024;

/// Pieces on their way. A network holds little: who sends soon notices that it is slow.
const PIECES: usize = 4;

/// What the kernel holds back for a relay.
const BUFFER: u32 = 16 * 1024;

/// Passes on what those who connect to `address` and one server say to each other. Gone when it is
/// dropped: then connecting is refused.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    link: Arc<Link>,
    _passing: JoinSet<()>,
}

/// The line, which all connections share.
#[derive(Debug)]
struct Link {
    way: watch::Sender<Way>,
    up: Direction,
    down: Direction,
}

#[derive(Debug, Default)]
struct Direction {
    passed: watch::Sender<u64>,
    /// Until when the line is taken by what passes already.
    taken: Mutex<Option<Instant>>,
}

/// How the line is.
#[derive(Debug, Clone, Copy, Default)]
struct Way {
    is_frozen: bool,
    delay: Duration,
    bytes_per_second: Option<u32>,
    /// Connections are numbered; those below are cut, or have lost their other end.
    cut_below: u64,
    lost_below: u64,
    connections: u64,
}

impl Relay {
    /// A line to the server at `server`.
    pub(crate) fn to(server: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        // Those that are accepted have the same.
        socket.set_recv_buffer_size(BUFFER).expect("a buffer");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(any).expect("a free port");
        let listener = socket.listen(1024).expect("it listens");
        let link = Arc::new(Link {
            way: watch::Sender::default(),
            up: Direction::default(),
            down: Direction::default(),
        });
        let address = listener.local_addr().expect("an address");
        let mut passing = JoinSet::new();
        passing.spawn(accept(listener, server, Arc::clone(&link)));
        Self {
            address,
            link,
            _passing: passing,
        }
    }

    /// Ends all connections that there are, as a machine does that knows nothing of them.
    pub(crate) fn cut(&self) {
        self.change(|way| way.cut_below = way.connections);
    }

    /// Holds everything back, until it is thawed.
    pub(crate) fn freeze(&self) {
        self.change(|way| way.is_frozen = true);
    }

    pub(crate) fn thaw(&self) {
        self.change(|way| way.is_frozen = false);
    }

    /// Takes the other end from all connections that there are, and tells nobody. New ones work.
    pub(crate) fn lose(&self) {
        self.change(|way| way.lost_below = way.connections);
    }

    /// Lets everything take so long, each way.
    pub(crate) fn delay(&self, delay: Duration) {
        self.change(|way| way.delay = delay);
    }

    /// Lets no more pass in a second, each way.
    pub(crate) fn throttle(&self, bytes_per_second: u32) {
        self.change(|way| way.bytes_per_second = Some(bytes_per_second));
    }

    fn change(&self, change: impl FnOnce(&mut Way)) {
        self.link.way.send_modify(change);
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> u64 {
        self.link.way.borrow().connections
    }

    /// Bytes that have passed to the server.
    pub(crate) fn up(&self) -> u64 {
        *self.link.up.passed.borrow()
    }

    /// Returns when so many bytes have passed to the server.
    pub(crate) async fn until_up(&self, bytes: u64) {
        self.link.up.until(bytes).await;
    }

    /// Returns when so many bytes have passed from the server.
    pub(crate) async fn until_down(&self, bytes: u64) {
        self.link.down.until(bytes).await;
    }

    /// Returns when there were so many connections.
    pub(crate) async fn until_connected(&self, connections: u64) {
        let mut way = self.link.way.subscribe();
        let waited = timeout(PATIENCE, way.wait_for(|way| way.connections >= connections)).await;
        drop(waited.expect("they connect in time").expect("a relay"));
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, link: Arc<Link>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let mut number = 0;
        link.way.send_modify(|way| {
            number = way.connections;
            way.connections += 1;
        });
        connections.spawn(connect(client, server, Arc::clone(&link), number));
    }
}

async fn connect(client: TcpStream, server: SocketAddr, link: Arc<Link>, number: u64) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(BUFFER).expect("a buffer");
    let Ok(server) = socket.connect(server).await else {
        return;
    };
    for stream in [&client, &server] {
        // Where a connection ends, it is torn.
        stream.set_zero_linger().expect("a socket");
        stream.set_nodelay(true).expect("a socket");
    }
    let mut way = link.way.subscribe();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = pass(from_client, to_server, &link, &link.up, number) => {}
        () = pass(from_server, to_client, &link, &link.down, number) => {}
        _ = way.wait_for(|way| number < way.cut_below) => {}
    }
}

/// Passes on one direction of one connection.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    link: &Link,
    direction: &Direction,
    number: u64,
) {
    let (pieces, mut waiting) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES);
    let reading = async {
        loop {
            let mut piece = vec![0; PIECE];
            link.until_open(number).await;
            let Ok(count @ 1..) = from.read(&mut piece).await else {
                return;
            };
            piece.truncate(count);
            let due = direction.due(*link.way.borrow(), count);
            if pieces.send((due, piece)).await.is_err() {
                return;
            }
        }
    };
    let writing = async {
        while let Some((due, piece)) = waiting.recv().await {
            sleep_until(due).await;
            link.until_open(number).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
            let count = piece.len() as u64;
            direction.passed.send_modify(|passed| *passed += count);
        }
    };
    tokio::select! {
        () = reading => {}
        () = writing => {}
    }
}

impl Link {
    /// Returns when a connection may pass on what it has.
    async fn until_open(&self, number: u64) {
        let mut way = self.way.subscribe();
        let is_open = |way: &Way| !way.is_frozen && number >= way.lost_below;
        if way.wait_for(is_open).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Direction {
    /// Returns when so many bytes have passed.
    async fn until(&self, bytes: u64) {
        let mut passed = self.passed.subscribe();
        let waited = timeout(PATIENCE, passed.wait_for(|passed| *passed >= bytes)).await;
        drop(waited.expect("they pass in time").expect("a relay"));
    }

    /// When so many bytes have passed that come now.
    fn due(&self, way: Way, count: usize) -> Instant {
        let now = Instant::now();
        let Some(rate) = way.bytes_per_second else {
            return now + way.delay;
        };
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = u32::try_from(count).expect("a piece");
        let until =
            taken.map_or(now, |taken| taken.max(now)) + Duration::from_secs(1) * count / rate;
        *taken = Some(until);
        until + way.delay
    }
}
