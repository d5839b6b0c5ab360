//! `--enable-distributed-tracing`: spans of calls go to a collector of OpenTelemetry, by OTLP over gRPC.
//!
//! What the collector does not take is dropped: no call waits for it.

use std::{sync::Arc, time::Duration};

use api::Traces;
use http::HeaderMap;
use opentelemetry::{
    KeyValue,
    propagation::{Extractor, TextMapPropagator as _},
    trace::{Span as _, SpanKind, Status, Tracer as _, TracerProvider as _},
};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{Sampler, SdkTracer, SdkTracerProvider, Span},
};

/// What the last spans may take on their way.
const END_PATIENCE: Duration = Duration::from_secs(2);
const SEND_PATIENCE: Duration = Duration::from_secs(5);
/// Of so many calls `--distributed-tracing-sampling-rate` are traced.
pub(crate) const SAMPLED_OF: u64 = 1_000_000;
/// The codes by which a server says that the fault is its own (OpenTelemetry's conventions for gRPC):
/// unknown, deadline exceeded, unimplemented, internal, unavailable, data loss.
const FAULTS: [i32; 6] = [2, 4, 12, 13, 14, 15];

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
            .with_batch_exporter(exporter)
            .with_resource(resource.build())
            .with_sampler(Sampler::ParentBased(Box::new(sampler(settings.sampling_rate))))
            .build();
        let tracer = Arc::new(Tracer(provider.tracer("retcd")));
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

/// Without a rate only what a client traces is traced, as in etcd.
fn sampler(rate: u64) -> Sampler {
    if rate == 0 {
        return Sampler::AlwaysOff;
    }
    #[allow(clippy::cast_precision_loss, reason = "both are below 2^20")]
    Sampler::TraceIdRatioBased(rate as f64 / SAMPLED_OF as f64)
}

#[derive(Debug)]
struct Tracer(SdkTracer);

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
        let parent = TraceContextPropagator::new().extract(&Headers(headers));
        let builder = self.0.span_builder(format!("{service}/{method}"));
        let span = builder.with_kind(SpanKind::Server).with_attributes([
            KeyValue::new("rpc.system", "grpc"),
            KeyValue::new("rpc.service", service.to_owned()),
            KeyValue::new("rpc.method", method.to_owned()),
        ]);
        let span = self.0.build_with_context(span, &parent);
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
