//! A tower layer that counts requests.
//!
//! Arrives: every request of the service inside, whatever framework made it. Leaves: one event when the response's body has ended
//! or was given up. Promised: requests and responses are passed on as they are; nothing is awaited, nothing is allocated.
//! The route is axum's `MatchedPath`, or a [`Route`] that the service put into the response's extensions; for gRPC it is
//! the method's path, which has no values in it, once that method has answered (`grpc.rs`). Without any it is `(none)`: never the raw path.

use std::borrow::Cow;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use http::uri::PathAndQuery;
use http::{Extensions, HeaderMap, Method, Request, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::client::Client;
use crate::event::Event;
use crate::grpc::{self, Framing};
use crate::trace::{self, TraceId};

/// Wraps services so that their requests are counted.
#[derive(Debug, Clone)]
pub struct PeepLayer {
    client: Client,
}

impl PeepLayer {
    /// A layer that hands its events to `client`.
    pub fn new(client: Client) -> Self {
        Self { client }
    }
}

impl<S> Layer<S> for PeepLayer {
    type Service = Peep<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Peep { inner, client: self.client.clone() }
    }
}

/// A service whose requests are counted.
#[derive(Debug, Clone)]
pub struct Peep<S> {
    inner: S,
    client: Client,
}

/// The template of the route that answered, for services without axum's router: `response.extensions_mut().insert(…)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route(pub &'static str);

impl<S, RequestBody, ResponseBody> Service<Request<RequestBody>> for Peep<S>
where
    S: Service<Request<RequestBody>, Response = Response<ResponseBody>>,
    ResponseBody: Body,
{
    type Response = Response<Observed<ResponseBody>>;
    type Error = S::Error;
    type Future = Responding<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let mut observation = self.client.is_enabled().then(|| Observation::begin(&self.client, &request));
        let inner = inside(&mut observation, || self.inner.call(request));
        Responding { inner, observation }
    }
}

pin_project! {
    /// A response on its way.
    pub struct Responding<F> {
        #[pin]
        inner: F,
        observation: Option<Observation>,
    }
}

impl<F, ResponseBody, E> Future for Responding<F>
where
    F: Future<Output = Result<Response<ResponseBody>, E>>,
    ResponseBody: Body,
{
    type Output = Result<Response<Observed<ResponseBody>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let observation = this.observation;
        let result = ready!(inside(observation, || this.inner.poll(context)));
        Poll::Ready(match result {
            Ok(response) => Ok(Observed::of(response, observation)),
            Err(error) => {
                // Nobody turned it into a response, so the connection breaks.
                if let Some(observation) = observation {
                    observation.book(StatusCode::INTERNAL_SERVER_ERROR.as_u16(), None);
                }
                Err(error)
            }
        })
    }
}

pin_project! {
    /// A response's body; its end is the end of the request.
    pub struct Observed<B> {
        #[pin]
        inner: B,
        ending: Ending,
    }
}

/// Counts when it is dropped, at the latest.
struct Ending {
    observation: Option<Observation>,
    /// What is still to come, where that is known.
    left: Option<u64>,
    sent: u64,
    is_over: bool,
}

impl<B: Body> Observed<B> {
    fn of(response: Response<B>, observation: &mut Option<Observation>) -> Response<Self> {
        let has_body = observation.as_mut().is_none_or(|observation| observation.answered(&response));
        let body = response.body();
        // A server goes by what it says itself: a stream of bytes does not know its length, and the header does.
        let left = body.size_hint().exact().or_else(|| content_length(response.headers()));
        // A server drops what it need not send without having asked for it.
        let is_over = !has_body || left == Some(0) || body.is_end_stream();
        response.map(|inner| Self { inner, ending: Ending { observation: observation.take(), left, sent: 0, is_over } })
    }
}

impl<B: Body> Body for Observed<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        let frame = ready!(inside(&mut this.ending.observation, || this.inner.as_mut().poll_frame(context)));
        this.ending.passed(frame.as_ref(), this.inner.is_end_stream());
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Ending {
    fn passed<D: bytes::Buf, E>(&mut self, frame: Option<&Result<Frame<D>, E>>, is_end: bool) {
        match frame {
            None => self.finish(),
            // The body broke: what the client got is no response.
            Some(Err(_)) => {
                if let Some(observation) = &mut self.observation {
                    observation.book(StatusCode::INTERNAL_SERVER_ERROR.as_u16(), None);
                }
            }
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    let length = data.remaining() as u64;
                    if let Some(observation) = self.observation.as_mut().filter(|_| self.sent == 0) {
                        observation.body_begins(data.chunk());
                    }
                    self.sent += length;
                    self.left = self.left.map(|left| left.saturating_sub(length));
                    // A server need not ask again for an end that it knows of.
                    self.is_over = is_end || self.left == Some(0);
                } else if let (Some(trailers), Some(observation)) = (frame.trailers_ref(), &mut self.observation) {
                    observation.grpc_status(trailers);
                    self.is_over = true;
                }
            }
        }
    }

    fn finish(&mut self) {
        if let Some(observation) = &mut self.observation {
            observation.book(observation.status, Some(self.sent));
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if self.is_over {
            self.finish();
        }
        // Otherwise the observation's own drop says that the client went away.
    }
}

/// One request, until its end.
struct Observation {
    client: Client,
    started: Instant,
    method: Method,
    route: RouteOf,
    /// Of a request that came as gRPC.
    grpc: Option<PathAndQuery>,
    /// The service answered as gRPC, which what is in front of its methods may do for any path.
    grpc_answer: Option<Framing>,
    /// It answered as only a method does.
    is_of_method: bool,
    trace: Option<TraceId>,
    bytes_in: Option<u64>,
    status: u16,
    /// The service runs on this thread, right now: if this is dropped, the service has panicked.
    is_inside: bool,
    is_booked: bool,
}

/// Lets the service run.
#[inline]
fn inside<T>(observation: &mut Option<Observation>, run: impl FnOnce() -> T) -> T {
    let mut set = |is_inside| {
        if let Some(observation) = observation {
            observation.is_inside = is_inside;
        }
    };
    set(true);
    let result = run();
    set(false);
    result
}

enum RouteOf {
    None,
    Given(Route),
    #[cfg(feature = "axum")]
    Axum(axum::extract::MatchedPath),
}

impl RouteOf {
    #[cfg(feature = "axum")]
    fn of_request(extensions: &Extensions) -> Self {
        extensions.get::<axum::extract::MatchedPath>().map_or(Self::None, |matched| Self::Axum(matched.clone()))
    }

    #[cfg(not(feature = "axum"))]
    fn of_request(_: &Extensions) -> Self {
        Self::None
    }

    fn text(&self) -> Cow<'_, str> {
        match self {
            Self::None => Cow::Borrowed(""),
            Self::Given(Route(route)) => Cow::Borrowed(route),
            #[cfg(feature = "axum")]
            Self::Axum(matched) => template_of_axum(matched.as_str()),
        }
    }
}

/// axum spells templates as peep does, and a brace that is meant as one doubled. Vectors: `sdk/fixtures/routes.json`.
#[cfg_attr(not(feature = "axum"), allow(dead_code, reason = "its test is not axum's"))]
pub(crate) fn template_of_axum(pattern: &str) -> Cow<'_, str> {
    let is_doubled = |pair: &[u8]| matches!(pair, b"{{" | b"}}");
    if pattern.as_bytes().windows(2).any(is_doubled) {
        Cow::Owned(pattern.replace("{{", "{").replace("}}", "}"))
    } else {
        Cow::Borrowed(pattern)
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// nginx's number for a client that hung up before its response was complete.
pub(crate) const CLIENT_CLOSED: u16 = 499;

impl Observation {
    fn begin<B>(client: &Client, request: &Request<B>) -> Self {
        let started = Instant::now();
        let headers = request.headers();
        Self {
            client: client.clone(),
            started,
            method: request.method().clone(),
            route: RouteOf::of_request(request.extensions()),
            grpc: Framing::of(headers).and_then(|_| request.uri().path_and_query().cloned()),
            grpc_answer: None,
            is_of_method: false,
            trace: trace::trace_id(headers),
            bytes_in: content_length(headers),
            status: 0,
            is_inside: false,
            is_booked: false,
        }
    }

    /// Whether the response has a body.
    fn answered<B>(&mut self, response: &Response<B>) -> bool {
        self.status = response.status().as_u16();
        if let Some(route) = response.extensions().get::<Route>() {
            self.route = RouteOf::Given(*route);
        }
        // Whoever asks as gRPC does not get gRPC everywhere: such a path may be anything.
        self.grpc_answer = self.grpc.as_ref().and_then(|_| Framing::of(response.headers()));
        self.grpc_status(response.headers());
        let has_none = match response.status() {
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => true,
            status => status.is_informational() || (status.is_success() && self.method == Method::CONNECT),
        };
        !has_none && self.method != Method::HEAD
    }

    /// The beginning of a response's body. Messages are a method's; trailers, which gRPC-Web has in the body, are anybody's.
    fn body_begins(&mut self, bytes: &[u8]) {
        self.is_of_method |= self.grpc_answer.is_some_and(|framing| framing.is_message(bytes));
    }

    /// gRPC answers 200 and says in a header or a trailer how it went.
    fn grpc_status(&mut self, headers: &HeaderMap) {
        if self.grpc_answer.is_none() {
            return;
        }
        let Some(code) = headers.get("grpc-status").and_then(|value| value.to_str().ok()?.parse::<u8>().ok()) else {
            return;
        };
        self.status = grpc::http_status(code);
        // Any other may come from an interceptor that looked at nothing but a token, for whatever path the client made up.
        self.is_of_method |= code == 0;
    }

    /// The path of a call, if it is known to be a method's.
    fn grpc_method(&self) -> Option<&str> {
        let path = self.grpc.as_ref()?.path();
        let methods = self.client.methods()?;
        let is_method = if self.is_of_method { methods.has_answered(path) } else { methods.is_known(path) };
        is_method.then_some(path)
    }

    /// The first time counts.
    fn book(&mut self, status: u16, bytes_out: Option<u64>) {
        if std::mem::replace(&mut self.is_booked, true) {
            return;
        }
        let route = self.route.text();
        let trace = self.trace.as_ref().and_then(|trace| std::str::from_utf8(trace).ok());
        let now = Instant::now();
        let event = Event {
            route: self.grpc_method().unwrap_or(&route),
            method: self.method.as_str(),
            status: Some(status),
            duration: Some(now.saturating_duration_since(self.started)),
            bytes_in: self.bytes_in,
            bytes_out,
            trace_id: trace.unwrap_or_default(),
            ..Event::default()
        };
        self.client.record_at(&event, now);
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        let status = if self.is_inside { StatusCode::INTERNAL_SERVER_ERROR.as_u16() } else { CLIENT_CLOSED };
        self.book(status, None);
    }
}
