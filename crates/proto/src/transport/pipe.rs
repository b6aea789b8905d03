//! Connections inside one process.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::DuplexStream;
use tokio::sync::mpsc;

/// Bytes that one side may write before the other reads: a few chunks.
const BUFFER_BYTES: usize = 2 * 1024 * 1024;

/// Connections that wait to be accepted, as in a socket's backlog.
const BACKLOG: usize = 64;

/// A place inside this process where one service listens and others connect.
///
/// While nobody listens, connecting is refused, as with a port that nobody has open.
#[derive(Debug, Clone, Default)]
pub struct Pipe {
    listener: Arc<Mutex<Option<mpsc::Sender<DuplexStream>>>>,
}

/// The listening end of a [`Pipe`]. Dropping it closes the place.
#[derive(Debug)]
pub struct PipeListener {
    connections: mpsc::Receiver<DuplexStream>,
}

impl Pipe {
    /// Listens, in place of whoever listened before.
    #[must_use]
    pub fn listen(&self) -> PipeListener {
        let (sender, connections) = mpsc::channel(BACKLOG);
        *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        PipeListener { connections }
    }

    pub(super) async fn connect(&self) -> io::Result<DuplexStream> {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let listener = self
            .listener
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let (ours, theirs) = tokio::io::duplex(BUFFER_BYTES);
        let listener = listener.ok_or_else(refused)?;
        listener.send(theirs).await.map_err(|_closed| refused())?;
        Ok(ours)
    }
}

impl PipeListener {
    pub(super) async fn accept(&mut self) -> Option<DuplexStream> {
        self.connections.recv().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pipe_refuses_while_nobody_listens() {
        let pipe = Pipe::default();
        let refused = pipe.connect().await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);

        let mut listener = pipe.listen();
        let _ours = pipe.connect().await.unwrap();
        assert!(listener.accept().await.is_some());

        drop(listener);
        assert!(pipe.connect().await.is_err());
    }
}
