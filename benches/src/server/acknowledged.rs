//! The floor under ingest with a log: what no acknowledged server can do without.
//!
//! The sockets and threads of the bare server; then a scan of one strict schema into binary rows, one Kafka message for
//! each request, and an empty 202 once the broker has confirmed it. No key, no limit, no metric, no choice of partition.

pub mod scan;

use std::cell::RefCell;
use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Incoming};
use hyper::{Request, Response, StatusCode};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::producer::{BaseRecord, DeliveryResult, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext};
use tokio::sync::oneshot;

use super::bare;
use scan::Rows;

/// Serves for ever on `workers` threads.
///
/// # Errors
/// When the socket cannot be shared or the broker's address makes no sense.
pub fn serve(listener: TcpListener, workers: usize, brokers: &str, topic: &str) -> anyhow::Result<()> {
    let (producer, topic) = (Arc::new(producer(brokers)?), Arc::<str>::from(topic));
    bare::serve_with(listener, workers, move || {
        let (producer, topic) = (Arc::clone(&producer), Arc::clone(&topic));
        move |request| answer(Arc::clone(&producer), Arc::clone(&topic), request)
    })
}

async fn answer(
    producer: Arc<Producer>,
    topic: Arc<str>,
    request: Request<Incoming>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let mut response = Response::new(Empty::new());
    *response.status_mut() = match take(&producer, &topic, request).await {
        Ok(()) => StatusCode::ACCEPTED,
        Err(status) => status,
    };
    Ok(response)
}

async fn take(producer: &Producer, topic: &str, request: Request<Incoming>) -> Result<(), StatusCode> {
    let mut body = request.into_body();
    let mut bytes = Vec::with_capacity(body.size_hint().lower() as usize);
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(|_| StatusCode::BAD_REQUEST)?.into_data() {
            bytes.extend_from_slice(&data);
        }
    }
    let delivered = ROWS.with_borrow_mut(|rows| {
        rows.scan(&bytes).ok_or(StatusCode::BAD_REQUEST)?;
        let (done, delivered) = oneshot::channel();
        let record = BaseRecord::<(), [u8], _>::with_opaque_to(topic, Box::new(done)).payload(rows.bytes());
        producer.send(record).map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
        Ok::<_, StatusCode>(delivered)
    })?;
    drop(bytes);
    match delivered.await {
        Ok(true) => Ok(()),
        _ => Err(StatusCode::SERVICE_UNAVAILABLE),
    }
}

thread_local! {
    /// librdkafka copies what it is given, so one buffer serves all requests of a thread.
    static ROWS: RefCell<Rows> = RefCell::default();
}

type Producer = ThreadedProducer<Confirm>;

fn producer(brokers: &str) -> anyhow::Result<Producer> {
    let mut config = producer_config(brokers);
    config.set("linger.ms", "1");
    ThreadedProducer::from_config_and_context(&config, Confirm).context("create the floor's producer")
}

/// As durable as peep's own log: idempotent, on all in-sync replicas, lz4.
pub(crate) fn producer_config(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("compression.type", "lz4");
    config
}

/// Tells the sender of a record whether the broker has it.
struct Confirm;

impl ClientContext for Confirm {}

impl ProducerContext for Confirm {
    type DeliveryOpaque = Box<oneshot::Sender<bool>>;

    fn delivery(&self, result: &DeliveryResult<'_>, done: Box<oneshot::Sender<bool>>) {
        let _ = done.send(result.is_ok());
    }
}
