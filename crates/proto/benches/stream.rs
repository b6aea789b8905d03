//! What a stream of bodies over the transport takes of what its carrier carries.
//!
//! Prints one JSON line for each carrier and direction. The stream and the bare carrier take turns,
//! with the same bytes in writes of the same size, and each turn's share is that of its own pair.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and prints what it found"
)]

use std::time::Instant;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use proto::body::{self, CHUNK_BYTES};
use proto::transport::{self, Address, Incoming, Outgoing};
use proto::v1::blobs_client::BlobsClient;
use proto::v1::blobs_server::{Blobs, BlobsServer};
use proto::v1::{
    BlobChunk, GetBlobRequest, HeadBlobRequest, HeadBlobResponse, PutBlobRequest, PutBlobResponse,
    UploadHeader, UploadOffsetResponse, put_blob_request,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tonic::{Request, Response, Status, Streaming};

const BYTES: usize = 256 * 1024 * 1024;
/// Turns, unless `--short` asks for one.
const PAIRS: usize = 7;

/// Takes what comes and gives what it has.
struct Store(Bytes);

fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    // Servers in threads of their own, as processes would be.
    let servers = runtime();
    let calls = runtime();
    let bytes = Bytes::from(vec![7; BYTES]);
    let socket = folder.path().join("grpc.sock");
    let (near, far) = servers.block_on(async {
        let unix = UnixListener::bind(&socket).expect("a socket");
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = tcp.local_addr().expect("an address");
        let incoming = Incoming::default().tcp(tcp).unix(unix);
        let store = BlobsServer::new(Store(bytes.clone()));
        let serving = transport::server()
            .add_service(store)
            .serve_with_incoming(incoming.connections());
        tokio::spawn(serving);
        (Address::Unix(socket), Address::Tcp(at.to_string()))
    });
    for (carrier, address) in [("unix socket", near), ("tcp", far)] {
        calls.block_on(measure(carrier, &address, &bytes));
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime")
}

async fn measure(carrier: &str, address: &Address, bytes: &Bytes) {
    let pairs = if std::env::args().any(|word| word == "--short") {
        1
    } else {
        PAIRS
    };
    let channel = transport::channel(address);
    let (mut bare, mut up, mut down) = (vec![], vec![], vec![]);
    for _ in 0..pairs {
        bare.push(match address {
            Address::Tcp(_) => bare_tcp(bytes).await,
            _ => bare_unix(bytes).await,
        });
        up.push(upload(channel.clone(), address.chunk_bytes(), bytes).await);
        down.push(download(channel.clone()).await);
    }
    for (direction, seconds) in [("up", up), ("down", down)] {
        let mut shares: Vec<f64> = bare
            .iter()
            .zip(&seconds)
            .map(|(bare, own)| bare / own)
            .collect();
        shares.sort_by(f64::total_cmp);
        println!(
            "{{\"carrier\":\"{carrier}\",\"direction\":\"{direction}\",\"bare_gbs\":{:.2},\
             \"stream_gbs\":{:.2},\"share\":{:.3},\"share_lowest\":{:.3},\"share_highest\":{:.3}}}",
            speed(&bare),
            speed(&seconds),
            shares[pairs / 2],
            shares[0],
            shares[pairs - 1],
        );
    }
}

fn speed(seconds: &[f64]) -> f64 {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    BYTES as f64 / sorted[sorted.len() / 2] / 1e9
}

async fn upload(channel: Outgoing, chunk: usize, bytes: &Bytes) -> f64 {
    let start = Instant::now();
    let parts = body::chunks_of(chunk, bytes.clone()).map(|data| PutBlobRequest {
        part: Some(put_blob_request::Part::Data(data)),
    });
    let put = BlobsClient::new(channel).put(stream::iter(parts)).await;
    put.expect("an upload");
    start.elapsed().as_secs_f64()
}

async fn download(channel: Outgoing) -> f64 {
    let start = Instant::now();
    let request = GetBlobRequest::default();
    let chunks = BlobsClient::new(channel).get(request).await;
    let mut chunks = chunks.expect("a download").into_inner();
    let mut len = 0;
    while let Some(chunk) = chunks.message().await.expect("a chunk") {
        len += chunk.data.len();
    }
    assert_eq!(len, BYTES);
    start.elapsed().as_secs_f64()
}

async fn bare_tcp(bytes: &Bytes) -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let ours = TcpStream::connect(listener.local_addr().expect("an address")).await;
    let (theirs, _) = listener.accept().await.expect("a connection");
    bare(ours.expect("a connection"), theirs, bytes).await
}

async fn bare_unix(bytes: &Bytes) -> f64 {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    bare(ours, theirs, bytes).await
}

/// Seconds that plain writes and reads of one connection take, with a thread at each end.
async fn bare(
    mut ours: impl AsyncWrite + Unpin,
    mut theirs: impl AsyncRead + Unpin + Send + 'static,
    bytes: &Bytes,
) -> f64 {
    let start = Instant::now();
    let reading = async move {
        let mut buffer = vec![0; CHUNK_BYTES];
        while theirs.read(&mut buffer).await.expect("bytes") > 0 {}
    };
    let reading = tokio::task::spawn_blocking(|| runtime().block_on(reading));
    for chunk in body::chunks(bytes.clone()) {
        ours.write_all(&chunk).await.expect("a write");
    }
    drop(ours);
    reading.await.expect("a reader");
    start.elapsed().as_secs_f64()
}

#[tonic::async_trait]
impl Blobs for Store {
    async fn put(
        &self,
        request: Request<Streaming<PutBlobRequest>>,
    ) -> Result<Response<PutBlobResponse>, Status> {
        let mut parts = request.into_inner();
        while parts.message().await?.is_some() {}
        Ok(Response::new(PutBlobResponse {}))
    }

    type GetStream = BoxStream<'static, Result<BlobChunk, Status>>;

    async fn get(&self, _: Request<GetBlobRequest>) -> Result<Response<Self::GetStream>, Status> {
        let chunks = body::chunks(self.0.clone()).map(|data| Ok(BlobChunk { data }));
        Ok(Response::new(stream::iter(chunks).boxed()))
    }

    async fn head(
        &self,
        _: Request<HeadBlobRequest>,
    ) -> Result<Response<HeadBlobResponse>, Status> {
        Err(Status::unimplemented("not measured"))
    }

    async fn upload_offset(
        &self,
        _: Request<UploadHeader>,
    ) -> Result<Response<UploadOffsetResponse>, Status> {
        Err(Status::unimplemented("not measured"))
    }
}
