//! Raw little-endian numbers on their way: announced, cut into chunks, put together, verified.

use bytes::{Bytes, BytesMut};
use federation::{Digest, digest::Digester, model};
use futures::{Stream, StreamExt};
use thiserror::Error;
use tonic::Status;

use crate::v1::{Body, BodyChunk, Dtype, TensorMeta, body_chunk};

/// Bytes in one chunk. Streams are fastest between 256 KiB and 1 MiB, and no message comes near
/// tonic's limit of 4 MiB.
pub const CHUNK_BYTES: usize = 512 * 1024;

/// Longest update that goes with its report, instead of being uploaded before.
pub const UPDATE_WITH_REPORT_MAX: usize = 64 * 1024;

/// Most bytes set aside on the word of a header, which take up no memory until they come; what arrives
/// beyond grows the buffer as it comes.
const TRUSTED_BYTES: usize = 256 * 1024 * 1024;

#[cfg(target_endian = "big")]
compile_error!("bodies are little-endian and are read in place");

/// Why bytes are not the body that was announced.
#[derive(Debug, Error)]
pub enum BodyError {
    /// Nothing was announced.
    #[error("a body must begin with its header")]
    NoHeader,
    /// A second header.
    #[error("a body has one header, at its beginning")]
    SecondHeader,
    /// The digest is not one.
    #[error(transparent)]
    Digest(#[from] federation::digest::InvalidDigest),
    /// The tensors do not add up to the length.
    #[error("tensors of {expected} bytes are announced with a length of {announced}")]
    Tensors {
        /// By the shapes.
        expected: u64,
        /// By the header.
        announced: u64,
    },
    /// Too few or too many bytes.
    #[error("body {digest} has {actual} bytes; {expected} were announced")]
    Length {
        /// Which body.
        digest: Digest,
        /// As announced.
        expected: u64,
        /// As received, or as many as were read before giving up.
        actual: u64,
    },
    /// Other bytes than announced.
    #[error("body {expected} arrived as {actual}; it is truncated or was changed")]
    Changed {
        /// As announced.
        expected: Digest,
        /// As received.
        actual: Digest,
    },
    /// The stream broke.
    #[error("the stream of a body broke: {0}")]
    Broken(#[from] Box<Status>),
}

/// Announces the parameters of a model, or a delta to them.
#[must_use]
pub fn parameters_header(architecture: &model::Architecture, bytes: &[u8]) -> Body {
    Body {
        digest: Digest::of(bytes).to_string(),
        length_bytes: bytes.len() as u64,
        tensors: parameter_tensors(architecture),
    }
}

/// The tensors of a model in layout order.
#[must_use]
pub fn parameter_tensors(architecture: &model::Architecture) -> Vec<TensorMeta> {
    let meta = |tensor: model::Tensor| TensorMeta {
        name: tensor.name,
        dtype: Dtype::F32.into(),
        shape: tensor.shape.iter().map(|&side| side as u64).collect(),
    };
    architecture.tensors().into_iter().map(meta).collect()
}

/// Gives numbers away as bytes, without copying them.
#[must_use]
pub fn into_bytes<T: bytemuck::NoUninit + Send + 'static>(numbers: Vec<T>) -> Bytes {
    struct Numbers<T>(Vec<T>);
    impl<T: bytemuck::NoUninit> AsRef<[u8]> for Numbers<T> {
        fn as_ref(&self) -> &[u8] {
            bytemuck::cast_slice(&self.0)
        }
    }
    Bytes::from_owner(Numbers(numbers))
}

/// The bytes of numbers, in place.
#[must_use]
pub fn as_bytes<T: bytemuck::NoUninit>(numbers: &[T]) -> &[u8] {
    bytemuck::cast_slice(numbers)
}

/// Reads bytes as numbers: in place where they are aligned, else through a copy. Bytes that do not
/// fill a last number are left out.
#[must_use]
pub fn as_numbers<T: bytemuck::AnyBitPattern + bytemuck::NoUninit>(
    bytes: &[u8],
) -> std::borrow::Cow<'_, [T]> {
    let whole = &bytes[..bytes.len() - bytes.len() % size_of::<T>()];
    match bytemuck::try_cast_slice(whole) {
        Ok(numbers) => std::borrow::Cow::Borrowed(numbers),
        Err(_unaligned) => std::borrow::Cow::Owned(bytemuck::allocation::pod_collect_to_vec(whole)),
    }
}

/// Cuts bytes into pieces of [`CHUNK_BYTES`], without copying them.
pub fn chunks(bytes: Bytes) -> impl Iterator<Item = Bytes> + Send {
    chunks_of(CHUNK_BYTES, bytes)
}

/// Cuts bytes into pieces of `len`, without copying them.
pub fn chunks_of(len: usize, bytes: Bytes) -> impl Iterator<Item = Bytes> + Send {
    (0..bytes.len())
        .step_by(len)
        .map(move |start| bytes.slice(start..bytes.len().min(start + len)))
}

/// The messages of one body: its header, then its chunks.
pub fn messages(header: Body, bytes: Bytes) -> impl Iterator<Item = BodyChunk> + Send {
    let rest = chunks(bytes).map(body_chunk::Part::Data);
    let parts = std::iter::once(body_chunk::Part::Header(header)).chain(rest);
    parts.map(BodyChunk::from)
}

impl From<body_chunk::Part> for BodyChunk {
    fn from(part: body_chunk::Part) -> Self {
        Self {
            part: Some(part),
            ..Self::default()
        }
    }
}

/// Puts a body together as its chunks arrive, hashing on the way.
#[derive(Debug)]
pub struct Assembly {
    digest: Digest,
    length: u64,
    bytes: BytesMut,
    digester: Digester,
}

impl Assembly {
    /// Begins the body that `header` announces.
    ///
    /// # Errors
    ///
    /// [`BodyError::Digest`] and [`BodyError::Tensors`] when the header contradicts itself.
    pub fn new(header: &Body) -> Result<Self, BodyError> {
        let announced = header.length_bytes;
        let expected = tensors_len(&header.tensors).unwrap_or(u64::MAX);
        if expected != announced {
            return Err(BodyError::Tensors {
                expected,
                announced,
            });
        }
        let capacity = usize::try_from(announced)
            .unwrap_or(usize::MAX)
            .min(TRUSTED_BYTES);
        Ok(Self {
            digest: header.digest.parse()?,
            length: announced,
            bytes: BytesMut::with_capacity(capacity),
            digester: Digester::default(),
        })
    }

    /// Takes in the next chunk.
    ///
    /// # Errors
    ///
    /// [`BodyError::Length`] as soon as more came than was announced.
    pub fn push(&mut self, data: &[u8]) -> Result<(), BodyError> {
        let actual = self.bytes.len() as u64 + data.len() as u64;
        if actual > self.length {
            return Err(self.wrong_length(actual));
        }
        self.digester.update(data);
        self.bytes.extend_from_slice(data);
        Ok(())
    }

    /// The body, if it is the one that was announced.
    ///
    /// # Errors
    ///
    /// [`BodyError::Length`] and [`BodyError::Changed`].
    pub fn finish(self) -> Result<(Digest, Bytes), BodyError> {
        let received = self.bytes.len() as u64;
        if received != self.length {
            return Err(self.wrong_length(received));
        }
        let actual = self.digester.finish();
        if actual != self.digest {
            return Err(BodyError::Changed {
                expected: self.digest,
                actual,
            });
        }
        Ok((actual, self.bytes.freeze()))
    }

    fn wrong_length(&self, actual: u64) -> BodyError {
        BodyError::Length {
            digest: self.digest,
            expected: self.length,
            actual,
        }
    }
}

/// A body in the chunks in which it came, for who passes it on: nothing is copied, and nothing looked at
/// but the length. Whether it is the one that was announced is seen where it arrives.
#[derive(Debug, Clone)]
pub struct Passing {
    digest: Digest,
    announced: u64,
    chunks: Vec<Bytes>,
    len: usize,
}

impl Passing {
    /// Begins the body that `header` announces.
    ///
    /// # Errors
    ///
    /// [`BodyError::Digest`].
    pub fn new(header: &Body) -> Result<Self, BodyError> {
        Ok(Self {
            digest: header.digest.parse()?,
            announced: header.length_bytes,
            chunks: Vec::new(),
            len: 0,
        })
    }

    /// Takes in the next chunk.
    ///
    /// # Errors
    ///
    /// [`BodyError::Length`] as soon as more came than was announced.
    pub fn push(&mut self, chunk: Bytes) -> Result<(), BodyError> {
        if !chunk.is_empty() {
            self.len += chunk.len();
            self.chunks.push(chunk);
        }
        match self.len as u64 > self.announced {
            true => Err(self.wrong_length()),
            false => Ok(()),
        }
    }

    /// The body, if all of it has come.
    ///
    /// # Errors
    ///
    /// [`BodyError::Length`].
    pub fn whole(self) -> Result<Self, BodyError> {
        match self.len as u64 == self.announced {
            true => Ok(self),
            false => Err(self.wrong_length()),
        }
    }

    fn wrong_length(&self) -> BodyError {
        BodyError::Length {
            digest: self.digest,
            expected: self.announced,
            actual: self.len as u64,
        }
    }

    /// What it was announced as.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Bytes so far.
    #[must_use]
    #[expect(
        clippy::len_without_is_empty,
        reason = "nobody asks for what has no bytes"
    )]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The chunks from this byte on.
    pub fn chunks_from(&self, offset: usize) -> impl Iterator<Item = Bytes> + Send {
        let mut skip = offset;
        self.chunks.iter().filter_map(move |chunk| {
            let skipped = skip.min(chunk.len());
            skip -= skipped;
            (skipped < chunk.len()).then(|| chunk.slice(skipped..))
        })
    }

    /// All bytes in one piece, which is a copy where they came in several.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        match <[Bytes; 1]>::try_from(self.chunks) {
            Ok([only]) => only,
            Err(chunks) => chunks.concat().into(),
        }
    }
}

/// Receives one body: header, chunks, end.
///
/// # Errors
///
/// [`BodyError`] when the stream breaks or does not carry what its header announces.
pub async fn receive(
    mut stream: impl Stream<Item = Result<BodyChunk, Status>> + Unpin,
) -> Result<(Body, Bytes), BodyError> {
    let (header, _) = receive_header(&mut stream).await?;
    let bytes = receive_rest(&header, stream).await?;
    Ok((header, bytes))
}

/// Receives what announces a body, and the digest of the one that it supersedes; empty where it does not.
///
/// # Errors
///
/// [`BodyError::Broken`] and [`BodyError::NoHeader`].
pub async fn receive_header(
    stream: &mut (impl Stream<Item = Result<BodyChunk, Status>> + Unpin),
) -> Result<(Body, String), BodyError> {
    let first = stream.next().await.ok_or(BodyError::NoHeader)?;
    let BodyChunk { part, supersedes } = first.map_err(Box::new)?;
    match part {
        Some(body_chunk::Part::Header(header)) => Ok((header, supersedes)),
        _ => Err(BodyError::NoHeader),
    }
}

/// Receives the chunks that `header` announced, and the end.
///
/// # Errors
///
/// As [`receive`].
pub async fn receive_rest(
    header: &Body,
    mut stream: impl Stream<Item = Result<BodyChunk, Status>> + Unpin,
) -> Result<Bytes, BodyError> {
    let mut assembly = Assembly::new(header)?;
    while let Some(chunk) = stream.next().await {
        match chunk.map_err(Box::new)?.part {
            Some(body_chunk::Part::Data(data)) => assembly.push(&data)?,
            _ => return Err(BodyError::SecondHeader),
        }
    }
    let (_, bytes) = assembly.finish()?;
    Ok(bytes)
}

/// Bytes that the tensors take, unless they are more than can be counted.
#[must_use]
pub fn tensors_len(tensors: &[TensorMeta]) -> Option<u64> {
    tensors.iter().try_fold(0_u64, |total, tensor| {
        let width = match tensor.dtype() {
            Dtype::F32 => 4_u64,
            Dtype::I64 => 8,
            Dtype::Unspecified => return None,
        };
        let own = tensor
            .shape
            .iter()
            .try_fold(width, |len, side| len.checked_mul(*side))?;
        total.checked_add(own)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(bytes: &[u8]) -> Body {
        let shape = vec![bytes.len() as u64 / 4];
        let tensor = TensorMeta {
            name: "t".into(),
            dtype: Dtype::F32.into(),
            shape,
        };
        Body {
            digest: Digest::of(bytes).to_string(),
            length_bytes: bytes.len() as u64,
            tensors: vec![tensor],
        }
    }

    async fn travel(header: Body, bytes: Bytes) -> Result<(Body, Bytes), BodyError> {
        receive(futures::stream::iter(messages(header, bytes).map(Ok))).await
    }

    #[tokio::test]
    async fn a_body_arrives_as_it_left() {
        let bytes = into_bytes(vec![0.5_f32; 3 * CHUNK_BYTES / 8]);
        let (_, received) = travel(header(&bytes), bytes.clone()).await.unwrap();
        assert_eq!(received, bytes);
    }

    #[tokio::test]
    async fn a_changed_body_is_refused_and_named() {
        let sent = Bytes::from_static(&[0; 8]);
        let announced = header(&[1; 8]);
        let error = travel(announced, sent).await.unwrap_err();
        assert!(matches!(error, BodyError::Changed { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_truncated_or_overlong_body_is_refused() {
        for len in [4, 12] {
            let error = travel(header(&[1; 8]), Bytes::from(vec![1; len]))
                .await
                .unwrap_err();
            assert!(
                matches!(error, BodyError::Length { expected: 8, .. }),
                "{error}"
            );
        }
    }

    #[test]
    fn what_is_passed_on_goes_on_from_any_byte() {
        let announced = Body {
            length_bytes: 5,
            ..header(b"abcde")
        };
        let mut passing = Passing::new(&announced).unwrap();
        for chunk in [&b"ab"[..], b"", b"cde"] {
            assert!(passing.clone().whole().is_err());
            passing.push(Bytes::from_static(chunk)).unwrap();
        }
        assert_eq!(passing.len(), 5);
        let more = passing.clone().push(Bytes::from_static(b"f"));
        assert!(matches!(more, Err(BodyError::Length { actual: 6, .. })));
        for offset in 0..7 {
            let rest: Vec<_> = passing.chunks_from(offset).collect();
            assert_eq!(rest.concat(), b"abcde"[offset.min(5)..]);
            assert!(rest.iter().all(|chunk| !chunk.is_empty()));
        }
        assert_eq!(passing.whole().unwrap().into_bytes(), "abcde");
    }

    #[test]
    fn shapes_that_overflow_are_refused() {
        let mut hostile = header(&[1; 8]);
        hostile.tensors[0].shape = vec![u64::MAX, u64::MAX];
        assert!(matches!(
            Assembly::new(&hostile),
            Err(BodyError::Tensors { .. })
        ));
    }

    #[test]
    fn unaligned_bytes_read_as_the_same_numbers() {
        let bytes = into_bytes(vec![1.0_f32, 2.0]);
        let mut shifted = vec![0_u8];
        shifted.extend_from_slice(&bytes);
        assert_eq!(as_numbers::<f32>(&shifted[1..])[..], [1.0, 2.0]);
    }
}
