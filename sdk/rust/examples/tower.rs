//! A tower service of your own whose requests peep counts.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use http::{Request, Response};
use http_body_util::BodyExt as _;
use peep_sdk::{Client, Event, PeepLayer, Route};
use tower::{ServiceBuilder, ServiceExt as _, service_fn};

#[tokio::main]
async fn main() {
    let peep = Client::from_env();
    let service = ServiceBuilder::new().layer(PeepLayer::new(peep.clone())).service(service_fn(
        |_request: Request<String>| async {
            let mut response = Response::new(String::from("hello"));
            response.extensions_mut().insert(Route("/hello/{name}"));
            Ok::<_, Infallible>(response)
        },
    ));
    // Over when its body is: whoever drops it before has hung up.
    let Ok(response) = service.oneshot(Request::new(String::new())).await;
    let _ = response.into_body().collect().await;

    // Anything else that takes time.
    let started = Instant::now();
    peep.record(&Event::new("nightly-report").duration(started.elapsed()).attrs(&[("rows", 1200.into())]));

    peep.shutdown(Duration::from_secs(5));
}
