//! Paths and headers, and the way of a request through the other modules.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use hyper::{Method, Request, Response, Version};
use peep_chassis::clock::Clock;
use peep_chassis::failpoint;
use peep_chassis::keys::{ApiKey, KeyStore};
use peep_log::{AppendError, Log, Offset, Partition};
use peep_wire::hash::mix;
use peep_wire::json::{Context, Rejection, RejectionCode};
use peep_wire::otlp;
use peep_wire::partition::partition_of;
use peep_wire::receipt::Receipt;
use peep_wire::{Identity, KeyId, ProjectId};

use crate::admission::{Admission, Permit};
use crate::answer::{self, Dialect};
use crate::append::{Appender, Placed};
use crate::batch::{self, Batch, Form, Sender};
use crate::body::{self, BodyLimits, Encoding};
use crate::browser::{self, Page};
use crate::config::Config;
use crate::deadline::{Overdue, Patience, Wait};
use crate::outcome::{Accepted, Delivery, Reason, Refused};
use crate::producers::Producers;
use crate::rate::{Charge, InDebt, Rates};
use crate::tenant::{self, Tenant};
use crate::{head, metrics};

/// Everything a request needs; one per process.
pub(crate) struct Station {
    pub(crate) config: Config,
    pub(crate) admission: Admission,
    pub(crate) rates: Rates,
    pub(crate) producers: Producers,
    pub(crate) keys: Arc<KeyStore>,
    pub(crate) log: Arc<dyn Log>,
    appender: Appender,
    pub(crate) clock: Clock,
    requests: AtomicU64,
    /// Tells the requests of one process run from those of another.
    run: u32,
}

impl Station {
    pub(crate) fn new(config: Config, keys: Arc<KeyStore>, log: Arc<dyn Log>, clock: Clock) -> Station {
        let admission = Admission::new(&config.limits);
        let rates = Rates::new(&config.limits);
        let producers = Producers::new(config.limits.producers_max);
        let run = uuid::Uuid::new_v4().as_u128() as u32;
        let appender = Appender::new(Arc::clone(&log), config.limits.bundled_record_bytes_max);
        let requests = AtomicU64::new(0);
        Station { config, admission, rates, producers, keys, log, appender, clock, requests, run }
    }

    /// Answers one request. Never fails: whatever happens becomes a response.
    pub(crate) async fn answer(&self, request: Request<Incoming>, patience: &Patience) -> Response<Full<Bytes>> {
        if let Err(refused) = head::check(&request) {
            return self.refuse(&request, &refused);
        }
        let page = Page::of(request.headers());
        let mut response = match (request.uri().path(), browser::is_preflight(&request)) {
            ("/v1/events" | "/v1/traces", true) => browser::preflight(),
            _ => self.answer_sender(request, page.as_ref(), patience).await,
        };
        if let Some(page) = page {
            page.may_read(&self.keys, &mut response);
        }
        response
    }

    async fn answer_sender(
        &self,
        request: Request<Incoming>,
        page: Option<&Page>,
        patience: &Patience,
    ) -> Response<Full<Bytes>> {
        let started = Instant::now();
        let dialect = dialect(&request);
        let outcome = match (request.method(), request.uri().path()) {
            (&Method::POST, "/v1/events" | "/v1/traces") => self.take(request, page, patience, started).await,
            (method, path @ ("/v1/events" | "/v1/traces")) => {
                let message = format!("{method} {path} is not possible; use POST");
                Err(Refused::new(Reason::MethodNotAllowed, message))
            }
            (_, path) => Err(not_found(path)),
        };
        match outcome {
            Ok(accepted) => answer::accepted(dialect, accepted),
            Err(mut refused) => {
                let room = refused.room.take();
                self.refused(dialect, &refused, room, started)
            }
        }
    }

    /// Answers a request whose head is not taken. Nothing that follows it on the connection is.
    pub(crate) fn refuse<B>(&self, request: &Request<B>, refused: &Refused) -> Response<Full<Bytes>> {
        let mut response = self.refused(dialect(request), refused, None, Instant::now());
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        response
    }

    fn refused(
        &self,
        dialect: Dialect,
        refused: &Refused,
        room: Option<Permit>,
        started: Instant,
    ) -> Response<Full<Bytes>> {
        metrics::refused(refused.reason, &refused.rejected, started.elapsed());
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let retry_after_s = self.retry_after_s(refused, number);
        answer::refused(dialect, refused, retry_after_s, &format!("{:08x}-{number:x}", self.run), room)
    }

    async fn take(
        &self,
        request: Request<Incoming>,
        page: Option<&Page>,
        patience: &Patience,
        started: Instant,
    ) -> Result<Accepted, Refused> {
        patience.manners.request(started);
        let (head, body) = request.into_parts();
        let Tenant { key, is_beacon } = tenant::authenticate(&self.keys, &head, page).await?;
        let form = match head.uri.path() {
            "/v1/traces" => form_of_traces(&head.headers),
            _ => form(&head.headers, is_beacon),
        }?;
        let encoding = encoding(&head.headers)?;
        let identity = identity(&head.headers)?;
        check_length(head.version, &head.headers)?;
        let project = ProjectId(key.project);
        let limits = self.body_limits();
        let room = self.charge(KeyId(key.key), &body).and_then(|charge| {
            self.find_place(project, identity.as_ref())?;
            Ok((charge, self.admit(project, &body, limits)?))
        });
        let (mut charge, mut permit) = match room {
            Ok(room) => room,
            Err(refused) => {
                let retry_after = self.wait(&refused).unwrap_or_default();
                let pace = self.config.http.refused_bytes_per_second;
                body::discard(body, head.version, pace, retry_after, &patience.manners);
                return Err(refused);
            }
        };
        let sent = body::read(body, &mut permit, limits, patience).await?;
        let sent_bytes = sent.len();
        let body = body::decompress(sent, encoding, &mut permit, limits)?;
        // What the head lies in is free for the next one, and the map of its headers for those of the answer.
        let headers = emptied(head.headers);
        drop(head.uri);

        let sender = Sender { project, key: KeyId(key.key), identity, received_ms: self.clock.now_ms() };
        let built = batch::build(&body, form, &self.context(&key, form), sender);
        drop(body);
        let batch = match built {
            Ok(batch) => batch,
            Err(refused) => {
                self.note_refused(&key, &refused.rejected, Some(&refused));
                return Err(with_room(refused, permit));
            }
        };
        charge.correct(batch.events);
        let record_bytes = batch.records.iter().map(Bytes::len).sum();
        permit.waits_for_log().map_err(body::shed)?;
        let answer_bytes = answer::bytes_held(&batch.rejected);
        if let Err(shed) = permit.grow(answer_bytes) {
            permit.forgoes_log();
            return Err(body::shed(shed));
        }
        failpoint::hit("ingest.before_append");
        // A request of nothing but spans that are no events has nothing to wait for.
        charge.keep();
        let receipt = match batch.records.is_empty() {
            true => None,
            false => match self.append(&batch, &sender, patience).await {
                Ok(receipt) => Some(receipt),
                Err(refused) => {
                    charge.give_back();
                    return Err(refused);
                }
            },
        };
        failpoint::hit("ingest.before_reply");
        metrics::accepted(batch.events, &batch.rejected, sent_bytes, record_bytes, started.elapsed());
        metrics::ignored(&batch.ignored);
        self.keys.usage().used(key.key, u64::from(batch.events), || batch::host(&batch));
        self.note_refused(&key, &batch.rejected, None);
        let delivery = if identity.is_some() { Delivery::ExactlyOnce } else { Delivery::AtLeastOnce };
        let room = (answer_bytes > 0).then(|| permit.of_answer(answer_bytes));
        Ok(Accepted { events: batch.events, rejected: batch.rejected, receipt, delivery, headers, room })
    }

    /// Events that the sender was told to be at fault; or the whole body, when not even its events can be told apart.
    fn note_refused(&self, key: &ApiKey, rejected: &[Rejection], whole: Option<&Refused>) {
        let usage = self.keys.usage();
        let codes: &[RejectionCode] = if rejected.is_empty() { &[] } else { RejectionCode::ALL };
        for code in codes {
            let mut of_code = rejected.iter().filter(|rejection| rejection.code == *code);
            if let Some(first) = of_code.next() {
                usage.refused(key.project, key.key, code.as_str(), 1 + of_code.count() as u64, &first.message);
            }
        }
        if let Some(whole) = whole.filter(|_| rejected.is_empty()) {
            usage.refused(key.project, key.key, whole.reason.code(), 1, &whole.message);
        }
    }

    fn charge(&self, key: KeyId, body: &Incoming) -> Result<Charge<'_>, Refused> {
        self.rates.charge(key, body.size_hint().exact().unwrap_or(0)).map_err(|InDebt { remaining }| {
            metrics::key_in_debt();
            let message = format!(
                "the key has sent more than {} events per second; send the same request again after `Retry-After`, and fewer \
                 from then on",
                self.config.limits.key_events_per_second_max
            );
            Refused { retry_after: Some(remaining), ..Refused::new(Reason::RateLimited, message) }
        })
    }

    /// Whole seconds. Half of the many who are turned away together get another one, so that they do not all come back together.
    fn retry_after_s(&self, refused: &Refused, number: u64) -> Option<u32> {
        let Some(wait) = self.wait(refused) else { return refused.reason.retry_after_s() };
        let jitter = mix(number ^ u64::from(self.run)) & 1;
        Some(u32::try_from(wait.as_secs() + jitter).unwrap_or(u32::MAX))
    }

    /// How long whoever was turned away for now waits at least: whole seconds, rounded up.
    fn wait(&self, refused: &Refused) -> Option<Duration> {
        let wait = match refused.reason {
            Reason::Overloaded => self.admission.retry_after(),
            Reason::RateLimited => refused.retry_after.unwrap_or_default(),
            _ => return None,
        };
        Some(Duration::from_secs((wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)))
    }

    fn find_place(&self, project: ProjectId, identity: Option<&Identity>) -> Result<(), Refused> {
        let Some(identity) = identity else { return Ok(()) };
        if self.producers.admit(project, identity, self.clock.now_ms()) {
            return Ok(());
        }
        let message = format!(
            "the project has more than {} producers within a day; a process makes up one `Peep-Producer` when it starts and \
             keeps it, counting its batches in `Peep-Seq`",
            self.config.limits.producers_max
        );
        Err(Refused::new(Reason::TooManyProducers, message))
    }

    fn admit(&self, project: ProjectId, body: &Incoming, limits: BodyLimits) -> Result<Permit, Refused> {
        let announced = body.size_hint().exact().unwrap_or(0);
        match usize::try_from(announced) {
            Ok(bytes) if bytes <= limits.bytes_max => self.admission.admit(project, bytes).map_err(body::shed),
            _ => Err(body::too_large(limits)),
        }
    }

    /// Appends all records of the request to one partition, in order, and waits for every acknowledgement.
    async fn append(&self, batch: &Batch, sender: &Sender, patience: &Patience) -> Result<Receipt, Refused> {
        let identity = sender.identity.as_ref();
        let (lanes, partitions) = (self.config.lanes, self.log.partitions());
        let partition = Partition(partition_of(sender.project, &batch.service, identity, lanes, partitions));
        let appended = match &batch.records[..] {
            [record] => {
                let append = self.appender.append(partition, record.clone(), batch.events);
                patience.within(Wait::Append, append).await
            }
            records => {
                // Called in a row without waiting: the log keeps the order of calls.
                let appends: Vec<_> = records.iter().map(|record| self.log.append(partition, record.clone())).collect();
                let all = async {
                    let mut last = Offset(0);
                    for append in appends {
                        last = last.max(append.await?);
                    }
                    Ok(Placed { offset: last, share: None })
                };
                patience.within(Wait::Append, all).await
            }
        };
        match appended {
            Ok(Ok(Placed { offset, share })) => {
                Ok(Receipt { project: sender.project, partition: partition.0, offset: offset.0, share })
            }
            Ok(Err(error)) => Err(self.refuse_append(&error)),
            Err(Overdue) => {
                Err(self.refuse_append(&AppendError::Unavailable { reason: "no acknowledgement in time".to_owned() }))
            }
        }
    }

    fn refuse_append(&self, error: &AppendError) -> Refused {
        match error {
            AppendError::Full { what } => {
                let message = format!("{what} is full; send the same request again after `Retry-After`");
                Refused::new(Reason::Overloaded, message)
            }
            AppendError::Unavailable { reason } => {
                tracing::warn!(reason, "the log did not acknowledge a batch");
                // Why exactly is for whoever runs peep, and in the line above.
                let cause = match self.log.ready() {
                    Ok(()) => "the log did not acknowledge in time",
                    Err(_) => "the log cannot be reached",
                };
                let message = format!(
                    "{cause}, so the outcome is unknown; send the same request again, with the same `Peep-Producer` and \
                     `Peep-Seq` if it had them"
                );
                Refused::new(Reason::LogUnavailable, message)
            }
            AppendError::TooLarge { .. } => {
                Refused::new(Reason::PayloadTooLarge, format!("{error}; send smaller batches"))
            }
        }
    }

    fn body_limits(&self) -> BodyLimits {
        let limits = &self.config.limits;
        BodyLimits {
            bytes_max: limits.body_bytes_max,
            ratio_max: limits.ratio_max,
            time_max: self.config.http.body_timeout,
        }
    }

    fn context<'k>(&self, key: &'k ApiKey, form: Form) -> Context<'k> {
        let limits = &self.config.limits;
        Context {
            bound_env: key.env.as_deref(),
            age_ms_max: millis(limits.age_max),
            ahead_ms_max: millis(limits.ahead_max),
            events_max: limits.events_max,
            event_bytes_max: limits.event_bytes_max,
            depth_max: limits.depth_max,
            lines: form == Form::Lines,
        }
    }
}

/// A refusal that names many events takes its room before it is written down, or becomes a short one.
fn with_room(refused: Refused, mut permit: Permit) -> Refused {
    let bytes = answer::bytes_held(&refused.rejected);
    match permit.grow_to(bytes) {
        Ok(()) if bytes > 0 => Refused { room: Some(permit.of_answer(bytes)), ..refused },
        Ok(()) => refused,
        Err(shed) => body::shed(shed),
    }
}

/// OTLP's answers are in the encoding of the request; when that is unknown, in the one that people can read.
fn dialect<B>(request: &Request<B>) -> Dialect {
    match request.uri().path() {
        "/v1/traces" => {
            let media_type = media_type(request.headers()).ok().flatten();
            let encoding = media_type.and_then(otlp::Encoding::from_media_type);
            Dialect::Otlp(encoding.unwrap_or(otlp::Encoding::Json))
        }
        _ => Dialect::Peep,
    }
}

fn not_found(path: &str) -> Refused {
    let message = match path {
        "/v1/metrics" | "/v1/logs" => {
            let signal = path.trim_start_matches("/v1/");
            let variable = format!("OTEL_{}_EXPORTER=none", signal.to_ascii_uppercase());
            format!("peep takes no {signal} over OTLP, only traces (POST /v1/traces); set {variable}")
        }
        path => {
            let path: String = path.chars().take(80).collect();
            format!("there is no {path} here; events go to POST /v1/events, OTLP traces to POST /v1/traces")
        }
    };
    Refused::new(Reason::NotFound, message)
}

/// The `Content-Type` without its parameters; empty when it is no text. Repeated, it must say the same: whoever reads the first
/// one and whoever reads the last one would else read different bodies.
fn media_type(headers: &HeaderMap) -> Result<Option<&str>, Refused> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.any(|other| other != value) {
        let message = "`Content-Type` was sent more than once, and not always the same; send it once";
        return Err(Refused::new(Reason::UnsupportedMediaType, message));
    }
    Ok(value.to_str().unwrap_or_default().split(';').next().map(str::trim))
}

/// Events: NDJSON or JSON by their type. Anything that is no JSON type is refused, except that browsers call the text of a
/// beacon plain, whatever it is.
fn form(headers: &HeaderMap, is_beacon: bool) -> Result<Form, Refused> {
    let Some(essence) = media_type(headers)? else { return Ok(Form::Json) };
    match () {
        () if essence.eq_ignore_ascii_case("application/json") => Ok(Form::Json),
        () if ["application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"]
            .iter()
            .any(|known| essence.eq_ignore_ascii_case(known)) =>
        {
            Ok(Form::Lines)
        }
        () if is_beacon && essence.eq_ignore_ascii_case("text/plain") => Ok(Form::Json),
        () => Err(unsupported(essence, "application/json or application/x-ndjson")),
    }
}

/// OTLP knows two encodings and demands that one be named.
fn form_of_traces(headers: &HeaderMap) -> Result<Form, Refused> {
    let essence = media_type(headers)?.unwrap_or_default();
    otlp::Encoding::from_media_type(essence)
        .map(Form::Otlp)
        .ok_or_else(|| unsupported(essence, "application/x-protobuf or application/json"))
}

fn unsupported(essence: &str, taken: &str) -> Refused {
    let essence: String = essence.chars().take(80).collect();
    Refused::new(Reason::UnsupportedMediaType, format!("`Content-Type: {essence}` is not taken; send {taken}"))
}

/// A POST that says nothing about its body has none (RFC 9112), which is never what the client meant. HTTP/2 has frames for
/// that.
fn check_length(version: Version, headers: &HeaderMap) -> Result<(), Refused> {
    if version == Version::HTTP_2 || headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING) {
        return Ok(());
    }
    let message = "the request announces no body; send `Content-Length`, or `Transfer-Encoding: chunked`";
    Err(Refused::new(Reason::LengthRequired, message))
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, Refused> {
    let mut values = headers.get_all(CONTENT_ENCODING).iter();
    let Some(value) = values.next() else { return Ok(Encoding::Identity) };
    let value = Some(value.to_str().unwrap_or("?").to_ascii_lowercase());
    Encoding::from_header(value.as_deref()).filter(|_| values.next().is_none()).ok_or_else(|| {
        let message = "this `Content-Encoding` is not taken; send one of gzip, zstd, deflate, identity".to_owned();
        Refused::new(Reason::UnsupportedEncoding, message)
    })
}

static PEEP_PRODUCER: HeaderName = HeaderName::from_static("peep-producer");
static PEEP_SEQ: HeaderName = HeaderName::from_static("peep-seq");

/// `Peep-Producer` and `Peep-Seq`: both, or neither.
fn identity(headers: &HeaderMap) -> Result<Option<Identity>, Refused> {
    let refuse = |message: &str| Err(Refused::new(Reason::InvalidIdentity, message));
    match (only(headers, &PEEP_PRODUCER)?, only(headers, &PEEP_SEQ)?) {
        (None, None) => Ok(None),
        (Some(producer), Some(seq)) => match (uuid::Uuid::parse_str(producer), number(seq)) {
            (Ok(producer), Some(seq)) => Ok(Some(Identity { producer: producer.into_bytes(), seq })),
            (Err(_), _) => refuse("`Peep-Producer` must be a UUID, one per client process"),
            (_, None) => refuse(
                "`Peep-Seq` must be an integer of 0 or more, in digits, below 2^64, counting the producer's batches",
            ),
        },
        (Some(_), None) => refuse("`Peep-Seq` is missing beside `Peep-Producer`; send both or neither"),
        (None, Some(_)) => refuse("`Peep-Producer` is missing beside `Peep-Seq`; send both or neither"),
    }
}

/// The text of a header; empty when it is none. Of two nobody knows which one counts, and a batch would be taken for another.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Refused> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        let name = if *name == PEEP_SEQ { "Peep-Seq" } else { "Peep-Producer" };
        return Err(Refused::new(Reason::InvalidIdentity, format!("`{name}` was sent more than once; send it once")));
    }
    Ok(Some(value.to_str().unwrap_or_default()))
}

/// Digits and nothing else: `parse` would also take a plus sign.
fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|_| !text.starts_with('+'))
}

/// hyper keeps the map of an answer with its connection, so one that grew large is not passed on.
fn emptied(mut headers: HeaderMap) -> HeaderMap {
    if headers.capacity() > HEADERS_KEPT_MAX {
        return HeaderMap::new();
    }
    headers.clear();
    headers
}

/// More than any exporter or SDK sends.
const HEADERS_KEPT_MAX: usize = 24;

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}
