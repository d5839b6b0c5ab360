//! `--enable-distributed-tracing`: spans of calls go to a collector of OpenTelemetry, by OTLP over gRPC.
//!
//! What the collector does not take is dropped, and that is said: no call waits for it.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use api::Traces;
use base::Complaints;
use http::HeaderMap;
use opentelemetry::{
    KeyValue,
    propagation::{Extractor, TextMapPropagator as _},
    trace::{Span as _, SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _},
};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    propagation::TraceContextPropagator,
    trace::{Sampler, SdkTracer, SdkTracerProvider, Span, SpanData},
};
use tokio::time::Instant;

/// What the last spans may take on their way.
const END_PATIENCE: Duration = Duration::from_secs(2);
const SEND_PATIENCE: Duration = Duration::from_secs(5);
/// Of so many calls `--distributed-tracing-sampling-rate` are traced.
pub(crate) const SAMPLED_OF: u64 = 1_000_000;
/// The codes by which a server says that the fault is its own (OpenTelemetry's conventions for gRPC):
/// unknown, deadline exceeded, unimplemented, internal, unavailable, data loss.
const FAULTS: [i32; 6] = [2, 4, 12, 13, 14, 15];

/// In which a client says to which trace its call belongs (W3C Trace Context).
const PARENT: &str = "traceparent";

/// Where spans go, and under which names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// `host:port`.
    pub(crate) address: String,
    pub(crate) service_name: String,
    /// Empty: none.
    pub(crate) instance_id: String,
    /// Of [`SAMPLED_OF`] calls whose client does not say itself whether they are traced.
    pub(crate) sampling_rate: u64,
}

/// Sends spans as long as it lives.
#[derive(Clone, Debug)]
pub(crate) struct Sending {
    provider: SdkTracerProvider,
    tracer: Arc<Tracer>,
}

impl Sending {
    /// Begins to send, within the runtime of the network. Whether the collector is there shows later.
    pub(crate) fn begin(settings: &Settings) -> Result<Self, String> {
        let exporter = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(format!("http://{}", settings.address))
            .with_timeout(SEND_PATIENCE)
            .build()
            .map_err(|error| {
                format!("--distributed-tracing-address \"{}\": {error}", settings.address)
            })?;
        let mut resource =
            Resource::builder_empty().with_service_name(settings.service_name.clone());
        if !settings.instance_id.is_empty() {
            let id = settings.instance_id.clone();
            resource = resource.with_attribute(KeyValue::new("service.instance.id", id));
        }
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(Telling::new(exporter, &settings.address))
            .with_resource(resource.build())
            // Which of the others are followed is decided before anything is made for them.
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
            .build();
        let tracer = Arc::new(Tracer {
            tracer: provider.tracer("retcd"),
            sampling_rate: settings.sampling_rate,
        });
        let Settings { address, service_name, instance_id, sampling_rate } = settings;
        tracing::info!(
            address,
            "service-name" = service_name,
            "service-instance-id" = instance_id,
            "sampling-rate" = sampling_rate,
            "distributed tracing enabled"
        );
        Ok(Self { provider, tracer })
    }

    pub(crate) fn tracer(&self) -> api::Tracer {
        Arc::<Tracer>::clone(&self.tracer)
    }

    /// Sends what is left. Waits, but not for long.
    pub(crate) fn end(&self) {
        if let Err(error) = self.provider.shutdown_with_timeout(END_PATIENCE) {
            tracing::warn!(%error, "the last spans may be lost");
        }
    }
}

/// Says, as often as somebody can read, that spans do not arrive.
#[derive(Debug)]
struct Telling {
    exporter: SpanExporter,
    address: String,
    began: Instant,
    said: Mutex<Complaints<()>>,
    /// Spans that did not arrive.
    lost: AtomicU64,
}

impl Telling {
    fn new(exporter: SpanExporter, address: &str) -> Self {
        Self {
            exporter,
            address: address.to_owned(),
            began: Instant::now(),
            said: Mutex::default(),
            lost: AtomicU64::default(),
        }
    }

    fn tell(&self, error: &dyn std::fmt::Display) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.note((), self.began.elapsed()).is_some() {
            tracing::warn!(
                address = self.address,
                %error,
                "lost-spans" = self.lost.load(Relaxed),
                "failed to export traces: the collector cannot be reached, or does not take them"
            );
        }
    }
}

impl opentelemetry_sdk::trace::SpanExporter for Telling {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        let exported = self.exporter.export(batch).await;
        if let Err(error) = &exported {
            self.lost.fetch_add(spans, Relaxed);
            self.tell(error);
        }
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// Whether spans can be sent there: `host:port`.
pub(crate) fn is_address(address: &str) -> bool {
    let parsed: Option<http::uri::Authority> = address.parse().ok();
    parsed.is_some_and(|to| {
        let port = to.port_u16().is_some_and(|port| port > 0);
        port && !to.host().is_empty() && !to.as_str().contains('@')
    })
}

#[derive(Debug)]
struct Tracer {
    tracer: SdkTracer,
    /// Zero: only what a client traces is traced, as in etcd.
    sampling_rate: u64,
}

/// What a client says of the trace that its call belongs to.
struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

impl Traces for Tracer {
    fn begin(
        &self,
        service: &str,
        method: &str,
        headers: &HeaderMap,
    ) -> Option<Box<dyn api::Span>> {
        // Of most nothing is made: neither a name nor an id.
        let parent = headers.contains_key(PARENT).then(|| {
            let of_client = TraceContextPropagator::new().extract(&Headers(headers));
            of_client.span().span_context().is_valid().then_some(of_client)
        });
        let parent = parent.flatten();
        let is_drawn = || fastrand::u64(..SAMPLED_OF) < self.sampling_rate;
        if !parent.as_ref().map_or_else(is_drawn, |of| of.span().span_context().is_sampled()) {
            return None;
        }
        let parent = parent.unwrap_or_default();
        let builder = self.tracer.span_builder(format!("{service}/{method}"));
        let span = builder.with_kind(SpanKind::Server).with_attributes([
            KeyValue::new("rpc.system", "grpc"),
            KeyValue::new("rpc.service", service.to_owned()),
            KeyValue::new("rpc.method", method.to_owned()),
        ]);
        let span = self.tracer.build_with_context(span, &parent);
        span.is_recording().then(|| -> Box<dyn api::Span> { Box::new(Following(span)) })
    }
}

/// A span ends by itself when it goes.
struct Following(Span);

impl api::Span for Following {
    fn end(self: Box<Self>, code: i32) {
        let Self(mut span) = *self;
        span.set_attribute(KeyValue::new("rpc.grpc.status_code", i64::from(code)));
        if FAULTS.contains(&code) {
            span.set_status(Status::error(""));
        }
        span.end();
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn spans_go_to_a_host_and_a_port() {
        for address in ["localhost:4317", "127.0.0.1:1", "[::1]:4317", "collector.example.com:80"] {
            assert!(super::is_address(address), "{address}");
        }
        for address in [
            "",
            "localhost",
            "localhost:",
            ":4317",
            "http://localhost:4317",
            "a b:1",
            "a:70000",
            "u@h:1",
        ] {
            assert!(!super::is_address(address), "{address}");
        }
    }
}
