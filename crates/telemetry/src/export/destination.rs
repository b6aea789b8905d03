//! Where records go.

use std::time::Duration;

use http::Uri;
use thiserror::Error;
use tonic::Request;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};
use tonic::transport::{Channel, Endpoint};

use crate::config::environment::Otlp;

/// A place to which nothing can be sent.
#[derive(Debug, Error)]
pub enum InvalidDestination {
    /// It is no URL.
    #[error(
        "OTLP endpoint {endpoint:?} cannot be used; must be a URL such as http://localhost:4317"
    )]
    Endpoint {
        /// What was given.
        endpoint: String,
        /// What is wrong with it.
        source: tonic::transport::Error,
    },
    /// Nobody is known who could vouch for it.
    #[error(
        "OTLP endpoint {endpoint:?} cannot be trusted: the system has no certificates; \
         install ca-certificates or set SSL_CERT_FILE"
    )]
    Certificates {
        /// What was given.
        endpoint: String,
        /// What is wrong with the certificates.
        source: tonic::transport::Error,
    },
    /// The value is not told, as it may be a secret.
    #[error("OTLP header {name:?} cannot be sent; must be the name and the text of a header")]
    Header {
        /// Which header.
        name: String,
    },
}

/// A collector's address, and what each request to it carries.
#[derive(Debug)]
pub(super) struct Destination {
    pub(super) timeout: Duration,
    endpoint: Endpoint,
    metadata: MetadataMap,
}

impl Destination {
    pub(super) fn new(otlp: &Otlp) -> Result<Self, InvalidDestination> {
        let endpoint = endpoint(&otlp.endpoint)?;
        let mut metadata = MetadataMap::new();
        for (name, value) in &otlp.headers {
            let (key, value) = header(name, value)
                .ok_or_else(|| InvalidDestination::Header { name: name.clone() })?;
            metadata.insert(key, value);
        }
        Ok(Self {
            timeout: otlp.timeout,
            endpoint: endpoint.connect_timeout(otlp.timeout),
            metadata,
        })
    }

    /// Connects with the first request, and again whenever the connection is lost.
    pub(super) fn connect(&self) -> Channel {
        self.endpoint.connect_lazy()
    }

    pub(super) fn request<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        *request.metadata_mut() = self.metadata.clone();
        request
    }

    pub(super) fn address(&self) -> String {
        self.endpoint.uri().to_string()
    }
}

/// A URL with `https` fails for its certificates alone.
fn endpoint(text: &str) -> Result<Endpoint, InvalidDestination> {
    let is_url = text.parse::<Uri>().is_ok();
    let endpoint = text.to_owned();
    Endpoint::new(endpoint.clone()).map_err(|source| {
        if is_url {
            InvalidDestination::Certificates { endpoint, source }
        } else {
            InvalidDestination::Endpoint { endpoint, source }
        }
    })
}

fn header(name: &str, value: &str) -> Option<(AsciiMetadataKey, AsciiMetadataValue)> {
    let key = AsciiMetadataKey::from_bytes(name.as_bytes()).ok()?;
    Some((key, AsciiMetadataValue::try_from(value).ok()?))
}
