//! The floor under ingest: a bare hyper server that reads the whole body and answers an empty 202.
//!
//! The same sockets, threads and runtime as ingest; no key, no limit, no JSON, no log. Whatever peep costs beyond this
//! and beyond turning JSON into rows is its own doing.

use std::convert::Infallible;
use std::net::TcpListener;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

/// Serves for ever on `workers` threads.
///
/// # Errors
/// When the socket cannot be shared.
pub fn serve(listener: TcpListener, workers: usize) -> anyhow::Result<()> {
    serve_with(listener, workers, || answer)
}

/// The same with another handler; `handler` is called once for each worker.
pub(super) fn serve_with<H, S, F>(listener: TcpListener, workers: usize, handler: H) -> anyhow::Result<()>
where
    H: Fn() -> S,
    S: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Response<Empty<Bytes>>, Infallible>> + Send + 'static,
{
    listener.set_nonblocking(true)?;
    let threads: Vec<_> = (0..workers)
        .map(|_| {
            let (listener, handler) = (listener.try_clone()?, handler());
            Ok(std::thread::spawn(move || work(listener, handler)))
        })
        .collect::<std::io::Result<_>>()?;
    for thread in threads {
        thread.join().map_err(|_| anyhow::anyhow!("a floor worker panicked"))??;
    }
    Ok(())
}

fn work<S, F>(listener: TcpListener, handler: S) -> std::io::Result<()>
where
    S: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Response<Empty<Bytes>>, Infallible>> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(handler.clone()));
            tokio::spawn(connection);
        }
    })
}

async fn answer(request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
    let mut body = request.into_body();
    while let Some(Ok(_)) = body.frame().await {}
    let mut response = Response::new(Empty::new());
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}
