//! The two hooks: when a request begins, and when it is over.
//!
//! In: a request. Out: an event in the worker's buffer. Promised: subrequests and locations with `peep off` cost a comparison.
//!
//! How long a request took: nginx's own clock ticks once per turn of the event loop and counts whole milliseconds, so that most answers
//! of a fast service took nothing. Two looks at the system's clock (25 ns each) tell microseconds from when the head was read; what
//! nginx knows decides where it says much more, because the client was slow to send its head, or where the first look is lost:
//! an internal redirect forgets it.

use std::ptr;
use std::time::{SystemTime, UNIX_EPOCH};

use ngx::core::Status;
use ngx::ffi::{
    ngx_array_push, ngx_conf_t, ngx_http_handler_pt, ngx_http_phases_NGX_HTTP_LOG_PHASE,
    ngx_http_phases_NGX_HTTP_POST_READ_PHASE, ngx_http_request_t, ngx_int_t, ngx_list_part_t, ngx_table_elt_t,
};
use ngx::http::{HttpModule, HttpModuleLocationConf, HttpModuleMainConf, NgxHttpCoreModule};
use peep_nginx_record::{refused, Event, Method, Route, Trace};

use crate::conf::LocationConf;
use crate::{guarded, sender, Peep};

/// Adds both hooks.
pub(crate) fn register(cf: &mut ngx_conf_t) -> ngx_int_t {
    let Some(core) = NgxHttpCoreModule::main_conf_mut(cf) else { return Status::NGX_ERROR.into() };
    let hooks: [(u32, ngx_http_handler_pt); 2] =
        [(ngx_http_phases_NGX_HTTP_POST_READ_PHASE, Some(begin)), (ngx_http_phases_NGX_HTTP_LOG_PHASE, Some(end))];
    for (phase, hook) in hooks {
        // SAFETY: the array of handlers was made by the core module for exactly this.
        let place = unsafe { ngx_array_push(&mut core.phases[phase as usize].handlers) }.cast::<ngx_http_handler_pt>();
        if place.is_null() {
            return Status::NGX_ERROR.into();
        }
        // SAFETY: `place` is the new, last element, of this type.
        unsafe { place.write(hook) };
    }
    Status::NGX_OK.into()
}

/// Remembers when the head was there.
extern "C" fn begin(request: *mut ngx_http_request_t) -> ngx_int_t {
    guarded(Status::NGX_DECLINED.into(), || {
        // SAFETY: nginx gives a live request; `ctx` has a slot for each module, and nobody follows what is in ours as a pointer.
        unsafe { *(*request).ctx.add(Peep::module().ctx_index) = ptr::without_provenance_mut(now_us() as usize) };
        Status::NGX_DECLINED.into()
    })
}

/// Tells the sender what became of the request.
extern "C" fn end(request: *mut ngx_http_request_t) -> ngx_int_t {
    guarded(Status::NGX_OK.into(), || {
        // SAFETY: nginx gives a live request, which nobody changes meanwhile.
        let request = unsafe { &*request };
        let is_main = ptr::eq(request.main, request);
        match Peep::location_conf(request) {
            Some(location) if is_main && location.is_enabled() => sender::send(&event(request, location)),
            _ => {}
        }
        Status::NGX_OK.into()
    })
}

fn event<'a>(request: &'a ngx_http_request_t, location: &'a LocationConf) -> Event<'a> {
    let now_us = now_us();
    // SAFETY: a request in its log phase has its connection.
    let sent = unsafe { (*request.connection).sent };
    let (method, target) = method_and_target(request);
    Event {
        service: location.service(),
        ended_ms: now_us / 1000,
        duration_us: duration_us(request, now_us),
        method,
        status: status(request),
        bytes_in: u64::try_from(request.request_length).unwrap_or(0),
        // The body, as `$body_bytes_sent` has it.
        bytes_out: u64::try_from(sent.saturating_sub(request.header_size as _)).unwrap_or(0),
        route: Route::choose(location.route(), target),
        trace: header(request, b"traceparent").and_then(Trace::from_header),
    }
}

/// Of a request that it refused, nginx knows less than its line says.
fn method_and_target(request: &ngx_http_request_t) -> (Method, &[u8]) {
    let (name, target) = (request.method_name.as_bytes(), request.unparsed_uri.as_bytes());
    if !name.is_empty() && !target.is_empty() {
        return (Method::from_name(name), target);
    }
    let (method, refused) = refused(request_line(request));
    (if name.is_empty() { method } else { Method::from_name(name) }, if target.is_empty() { refused } else { target })
}

/// As `$request` has it: where no line was understood, what of it was received.
fn request_line(request: &ngx_http_request_t) -> &[u8] {
    if !request.request_line.data.is_null() {
        return request.request_line.as_bytes();
    }
    if request.request_start.is_null() || request.header_in.is_null() {
        return b"";
    }
    // SAFETY: the line begins in the buffer of the header, which lives as long as the request and is filled up to `last`.
    let received = unsafe {
        let last = (*request.header_in).last;
        let length = usize::try_from(last.offset_from(request.request_start)).unwrap_or(0);
        std::slice::from_raw_parts(request.request_start, length)
    };
    let end = received.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(received.len());
    &received[..end]
}

/// As `$status` has it, but for HTTP/0.9.
fn status(request: &ngx_http_request_t) -> u16 {
    let status = match request.err_status {
        0 => request.headers_out.status,
        error => error,
    };
    u16::try_from(status).unwrap_or(0)
}

fn duration_us(request: &ngx_http_request_t, now_us: u64) -> u64 {
    let started_us = request.start_sec as u64 * 1_000_000 + request.start_msec as u64 * 1000;
    let coarse = now_us.saturating_sub(started_us);
    // SAFETY: as in `begin`.
    let begun_us = unsafe { *request.ctx.add(Peep::module().ctx_index) }.addr() as u64;
    let fine = now_us.saturating_sub(begun_us);
    if begun_us == 0 || coarse > fine + COARSE_US {
        coarse
    } else {
        fine
    }
}

/// By how much nginx's clock may be behind: a millisecond of its own and one of the loop.
const COARSE_US: u64 = 2000;

fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

/// The first header of this name, which is in lower case.
fn header<'a>(request: &'a ngx_http_request_t, name: &[u8]) -> Option<&'a [u8]> {
    let mut part: *const ngx_list_part_t = &request.headers_in.headers.part;
    while !part.is_null() {
        // SAFETY: nginx's list of headers: parts in a chain, each with `nelts` elements of this type.
        let headers = unsafe { std::slice::from_raw_parts((*part).elts.cast::<ngx_table_elt_t>(), elements(part)) };
        for header in headers {
            // A hash of 0 marks a header that was taken back.
            if header.hash != 0 && header.key.len == name.len() && header.key.as_bytes().eq_ignore_ascii_case(name) {
                return Some(header.value.as_bytes());
            }
        }
        // SAFETY: as above.
        part = unsafe { (*part).next };
    }
    None
}

/// An empty part may have no elements to point at.
fn elements(part: *const ngx_list_part_t) -> usize {
    // SAFETY: the caller has a live part.
    let part = unsafe { &*part };
    if part.elts.is_null() {
        0
    } else {
        part.nelts
    }
}
