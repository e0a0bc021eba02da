//! A tower layer that counts requests.
//!
//! Arrives: every request of the service inside, whatever framework made it. Leaves: one event when the response's body has ended
//! or was given up. Promised: requests and responses are passed on as they are; nothing is awaited, nothing is allocated.
//! The route is axum's `MatchedPath`, or a [`Route`] that the service put into the response's extensions; for gRPC it is
//! the method's path, which has no values in it, once the service has answered as gRPC. Without any it is `(none)`: never the raw path.

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
        let observation = self.client.is_enabled().then(|| Observation::begin(&self.client, &request));
        Responding { inner: self.inner.call(request), observation }
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
        let result = ready!(this.inner.poll(context));
        let observation = this.observation;
        Poll::Ready(match result {
            Ok(response) => {
                let has_body = observation.as_mut().is_none_or(|observation| observation.answered(&response));
                Ok(response.map(|body| Observed::new(body, has_body, observation.take())))
            }
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
    fn new(inner: B, has_body: bool, observation: Option<Observation>) -> Self {
        let left = inner.size_hint().exact();
        // A server drops what it need not send without having asked for it.
        let is_over = !has_body || inner.is_end_stream();
        Self { inner, ending: Ending { observation, left, sent: 0, is_over } }
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
        let frame = ready!(this.inner.as_mut().poll_frame(context));
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
    /// The service answered as gRPC: the path is one of its methods.
    is_grpc_method: bool,
    trace: Option<TraceId>,
    bytes_in: Option<u64>,
    status: u16,
    is_booked: bool,
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

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// nginx's number for a client that hung up before its response was complete.
const CLIENT_CLOSED: u16 = 499;

impl Observation {
    fn begin<B>(client: &Client, request: &Request<B>) -> Self {
        let started = Instant::now();
        let headers = request.headers();
        let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        Self {
            client: client.clone(),
            started,
            method: request.method().clone(),
            route: RouteOf::of_request(request.extensions()),
            grpc: if is_grpc(headers) { request.uri().path_and_query().cloned() } else { None },
            is_grpc_method: false,
            trace: trace::trace_id(headers),
            bytes_in: length,
            status: 0,
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
        self.is_grpc_method = self.grpc.is_some() && is_grpc(response.headers());
        self.grpc_status(response.headers());
        let has_none = matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        !has_none && self.method != Method::HEAD
    }

    /// gRPC answers 200 and says in a header or a trailer how it went. The statuses are those that Google's API gateways use.
    fn grpc_status(&mut self, headers: &HeaderMap) {
        if !self.is_grpc_method {
            return;
        }
        let Some(code) = headers.get("grpc-status").and_then(|value| value.to_str().ok()?.parse::<u8>().ok()) else {
            return;
        };
        self.status = match code {
            0 => 200,
            1 => CLIENT_CLOSED,
            3 | 9 | 11 => 400,
            4 => 504,
            5 => 404,
            6 | 10 => 409,
            7 => 403,
            8 => 429,
            12 => 501,
            14 => 503,
            16 => 401,
            _ => 500,
        };
        if code == 12 {
            // There is no such method: the path is whatever the client made up.
            self.is_grpc_method = false;
        }
    }

    /// The first time counts.
    fn book(&mut self, status: u16, bytes_out: Option<u64>) {
        if std::mem::replace(&mut self.is_booked, true) {
            return;
        }
        let grpc = self.grpc.as_ref().filter(|_| self.is_grpc_method).map(PathAndQuery::path);
        let route = self.route.text();
        let trace = self.trace.as_ref().and_then(|trace| std::str::from_utf8(trace).ok());
        let now = Instant::now();
        let event = Event {
            route: grpc.unwrap_or(&route),
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
        self.book(CLIENT_CLOSED, None);
    }
}
