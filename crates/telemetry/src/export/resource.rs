//! Who sends.

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::resource::v1;

use super::encode::text;
use crate::metrics::VERSION;
use crate::trace::TraceId;

/// What a process says of itself.
#[derive(Debug, Clone, Default)]
pub struct Resource {
    /// A name for its only service. None in a process of several services, where each keeps its
    /// own.
    pub service_name: Option<String>,
    /// What else is known of it; wins over what it would say by itself.
    pub attributes: Vec<(String, String)>,
}

impl Resource {
    /// With an instance id, by chance where the attributes do not say one.
    pub(super) fn identified(mut self) -> Self {
        const INSTANCE: &str = "service.instance.id";
        if !self.attributes.iter().any(|(key, _)| key == INSTANCE) {
            let id = TraceId::random().to_string();
            self.attributes.push((INSTANCE.to_owned(), id));
        }
        self
    }

    pub(super) fn of(&self, service: &'static str) -> v1::Resource {
        let name = self.service_name.as_deref().unwrap_or(service);
        let own = [
            ("service.name", name),
            ("service.version", VERSION),
            ("telemetry.sdk.language", "rust"),
            ("telemetry.sdk.name", "pangea"),
            ("telemetry.sdk.version", VERSION),
        ];
        let is_said = |key: &str| self.attributes.iter().any(|(said, _)| said == key);
        let own = own.iter().filter(|(key, _)| !is_said(key));
        let own = own.map(|(key, value)| text(key, value));
        let said = self.attributes.iter().map(|(key, value)| text(key, value));
        let attributes: Vec<KeyValue> = own.chain(said).collect();
        v1::Resource {
            attributes,
            ..v1::Resource::default()
        }
    }
}
