//! Taking a port or a socket, with an error that says which and what to do.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use thiserror::Error;
use tokio::net::{TcpListener, UnixListener, UnixStream};

/// A place that cannot be listened at.
#[derive(Debug, Error)]
pub enum ListenError {
    /// Someone has the port, or it is not ours to take.
    #[error(
        "cannot listen on {address}: {source}; set {key} to another address, or stop what has it"
    )]
    Tcp {
        /// Which address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
        /// The configuration key that chose it.
        key: &'static str,
    },
    /// Someone has the socket, or its directory is not ours to write.
    #[error("cannot listen on {}: {source}; set {key} to another path, or stop what has it", path.display())]
    Unix {
        /// Which path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
        /// The configuration key that chose it.
        key: &'static str,
    },
}

/// Listens on a port that the configuration key `key` chose.
///
/// # Errors
///
/// [`ListenError::Tcp`].
pub async fn tcp(
    address: SocketAddr,
    key: &'static str,
) -> Result<(TcpListener, SocketAddr), ListenError> {
    let failed = |source| ListenError::Tcp {
        address,
        source,
        key,
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Listens on a Unix socket; no path, no socket. A socket that a dead process left is replaced.
///
/// # Errors
///
/// [`ListenError::Unix`].
pub async fn unix(path: &Path, key: &'static str) -> Result<Option<UnixListener>, ListenError> {
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    let failed = |source| ListenError::Unix {
        path: path.to_owned(),
        source,
        key,
    };
    if is_abandoned(path).await {
        std::fs::remove_file(path).map_err(failed)?;
    }
    UnixListener::bind(path).map(Some).map_err(failed)
}

async fn is_abandoned(path: &Path) -> bool {
    let is_socket = std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    is_socket && UnixStream::connect(path).await.is_err_and(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_named_with_the_key_that_chose_it() {
        let (_held, address) = tcp(SocketAddr::from(([127, 0, 0, 1], 0)), "a")
            .await
            .unwrap();
        let message = tcp(address, "grpc.listen").await.unwrap_err().to_string();
        assert!(message.contains(&address.to_string()), "{message}");
        assert!(message.contains("grpc.listen"), "{message}");
    }

    #[tokio::test]
    async fn a_living_socket_is_kept_and_a_dead_one_replaced() {
        let dir = std::env::temp_dir().join(format!("pangea-listen-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("s.sock");
        let living = unix(&path, "grpc.unix_socket").await.unwrap().unwrap();
        assert!(unix(&path, "grpc.unix_socket").await.is_err());
        drop(living);
        assert!(unix(&path, "grpc.unix_socket").await.unwrap().is_some());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
