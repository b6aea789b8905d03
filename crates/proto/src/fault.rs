//! Errors on the wire: a code, a sentence for a person, and an `ErrorInfo` for a program.

use std::collections::HashMap;
use std::error::Error;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// The descriptors of `ErrorInfo` and its like, for tools that learn messages by reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic_types::pb::FILE_DESCRIPTOR_SET;

/// The domain of every `ErrorInfo` of ours.
pub const DOMAIN: &str = "pangea";

/// A body that compute-core does not hold; metadata `digest` names it.
pub const BODY_NOT_HELD: &str = "BODY_NOT_HELD";

/// A lease that ran out.
pub const LEASE_LOST: &str = "LEASE_LOST";

/// An object that is in no store; metadata `key` names it.
pub const BLOB_NOT_FOUND: &str = "BLOB_NOT_FOUND";

/// Bytes whose digest is not the one that was announced.
pub const DIGEST_MISMATCH: &str = "DIGEST_MISMATCH";

/// Fewer or more bytes than were announced; metadata `expected` and `actual` count them.
pub const WRONG_LENGTH: &str = "WRONG_LENGTH";

/// A range beyond the end of an object; metadata `start`, `end` and `len` say where.
pub const RANGE_OUTSIDE: &str = "RANGE_OUTSIDE";

/// Kernels that the processor cannot run; metadata `kernel_class` names them.
pub const KERNELS_UNAVAILABLE: &str = "KERNELS_UNAVAILABLE";

/// A message that cannot be understood.
pub const INVALID_MESSAGE: &str = "INVALID_MESSAGE";

/// A status with its `ErrorInfo`.
#[must_use]
pub fn status(
    code: Code,
    reason: &str,
    message: impl Into<String>,
    metadata: &[(&str, String)],
) -> Status {
    let metadata: HashMap<String, String> = metadata
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()))
        .collect();
    let details = ErrorDetails::with_error_info(reason, DOMAIN, metadata);
    Status::with_error_details(code, message, details)
}

/// The reason in a status' `ErrorInfo`, if it is one of ours.
#[must_use]
pub fn reason(status: &Status) -> Option<String> {
    let info = status.get_details_error_info()?;
    (info.domain == DOMAIN).then_some(info.reason)
}

/// A value of the `ErrorInfo`'s metadata.
#[must_use]
pub fn metadata(status: &Status, key: &str) -> Option<String> {
    status.get_details_error_info()?.metadata.remove(key)
}

/// Whether the same call may succeed later, because the other side was not there to answer.
#[must_use]
pub fn is_transient(status: &Status) -> bool {
    // Only a status that was made on this side has a source: the connection broke under the call.
    status.source().is_some()
        || matches!(status.code(), Code::Unavailable | Code::ResourceExhausted)
        || (matches!(status.code(), Code::Unknown | Code::Cancelled) && reason(status).is_none())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::transport::{Address, channel};
    use crate::v1::DescribeRequest;
    use crate::v1::compute_client::ComputeClient;

    #[test]
    fn a_fault_names_its_reason_and_its_things() {
        let fault = status(
            Code::NotFound,
            BODY_NOT_HELD,
            "gone",
            &[("digest", "x".into())],
        );
        assert_eq!(reason(&fault).as_deref(), Some(BODY_NOT_HELD));
        assert_eq!(metadata(&fault, "digest").as_deref(), Some("x"));
        assert!(!is_transient(&fault));
    }

    #[tokio::test]
    async fn who_leaves_under_a_call_was_not_there_to_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: Address = listener.local_addr().unwrap().to_string().parse().unwrap();
        let mut client = ComputeClient::new(channel(&address));
        let leave = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            leave_under_a_call(&mut stream).await;
            stream
        };
        let (_open, answer) = tokio::join!(leave, client.describe(DescribeRequest {}));
        let status = answer.unwrap_err();
        assert_eq!(status.code(), Code::Internal);
        assert!(is_transient(&status), "{status:?}");
    }

    /// Says hello, waits for a call, and says goodbye without an error.
    ///
    /// # Source
    ///
    /// RFC 9113, sections 3.4, 4.1 and 6.8.
    async fn leave_under_a_call(stream: &mut TcpStream) {
        const HEADERS: u8 = 1;
        stream.write_all(b"\0\0\0\x04\0\0\0\0\0").await.unwrap();
        let mut preface = [0; 24];
        stream.read_exact(&mut preface).await.unwrap();
        let mut head = [0; 9];
        while head[3] != HEADERS {
            stream.read_exact(&mut head).await.unwrap();
            let bytes = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; bytes as usize];
            stream.read_exact(&mut payload).await.unwrap();
        }
        let goodbye = b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0";
        stream.write_all(goodbye).await.unwrap();
    }
}
