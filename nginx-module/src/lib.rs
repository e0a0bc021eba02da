//! An nginx module that sends an event for each finished request to `peep ship`.
//!
//! In: requests in their log phase. Out: datagrams of `peep-nginx-record` to the shipper's unix socket. Promised: a request never
//! waits for it and never fails by it: nothing blocks, nothing is allocated per request, what nobody takes is dropped and
//! counted, and a panic ends at the callback in which it happened. Not done: threads (the master forks), templates of routes
//! (the shipper makes them), retries.
//!
//! The way of a request: `log_phase` (hooks) → [`peep_nginx_record`] (encode, buffer) → `sender` (socket and timer). `conf` has
//! the directives.
//!
//! ```nginx
//! load_module modules/ngx_http_peep_module.so;
//! http {
//!     peep_socket /run/peep/nginx.sock;
//!     peep on;
//!     peep_service shop;
//! }
//! ```

mod conf;

mod log_phase;

mod sender;

use std::ffi::c_void;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr;

use ngx::core::Status;
use ngx::ffi::{ngx_conf_t, ngx_cycle_t, ngx_http_module_t, ngx_int_t, ngx_module_t, ngx_uint_t, NGX_HTTP_MODULE};
use ngx::http::{HttpModule, HttpModuleMainConf};

use conf::{LocationConf, MainConf};

pub(crate) struct Peep;

impl HttpModule for Peep {
    fn module() -> &'static ngx_module_t {
        // SAFETY: nginx writes to it while it loads the module, before anything of it is called, and never again.
        unsafe { &*ptr::addr_of!(ngx_http_peep_module) }
    }

    unsafe extern "C" fn postconfiguration(cf: *mut ngx_conf_t) -> ngx_int_t {
        guarded(Status::NGX_ERROR.into(), || {
            // SAFETY: nginx gives a configuration context that lives as long as this call.
            let cf = unsafe { &mut *cf };
            match MainConf::of(cf) {
                Some(main) if main.socket().is_some() => log_phase::register(cf),
                // Without a socket there is nothing to do for any request.
                _ => Status::NGX_OK.into(),
            }
        })
    }
}

// SAFETY: these are the types that `create_main_conf` and `create_loc_conf` of this module make.
unsafe impl HttpModuleMainConf for Peep {
    type MainConf = MainConf;
}

// SAFETY: as above.
unsafe impl ngx::http::HttpModuleLocationConf for Peep {
    type LocationConf = LocationConf;
}

static CONTEXT: ngx_http_module_t = ngx_http_module_t {
    preconfiguration: None,
    postconfiguration: Some(Peep::postconfiguration),
    create_main_conf: Some(Peep::create_main_conf),
    init_main_conf: None,
    create_srv_conf: None,
    merge_srv_conf: None,
    create_loc_conf: Some(Peep::create_loc_conf),
    merge_loc_conf: Some(Peep::merge_loc_conf),
};

ngx::ngx_modules!(ngx_http_peep_module);

#[used]
#[allow(non_upper_case_globals)]
pub static mut ngx_http_peep_module: ngx_module_t = ngx_module_t {
    ctx: ptr::addr_of!(CONTEXT) as *mut c_void,
    // SAFETY: only its address is taken.
    commands: unsafe { ptr::addr_of_mut!(conf::COMMANDS[0]) },
    type_: NGX_HTTP_MODULE as ngx_uint_t,
    init_process: Some(init_process),
    exit_process: Some(exit_process),
    ..ngx_module_t::default()
};

/// A worker begins.
extern "C" fn init_process(cycle: *mut ngx_cycle_t) -> ngx_int_t {
    guarded(Status::NGX_OK.into(), || {
        // SAFETY: nginx gives the cycle that the worker runs with.
        let cycle = unsafe { &mut *cycle };
        if let Some(socket) = Peep::main_conf(cycle).and_then(MainConf::socket) {
            sender::start(socket, cycle.log);
        }
        Status::NGX_OK.into()
    })
}

/// A worker ends: what it has goes out.
extern "C" fn exit_process(_cycle: *mut ngx_cycle_t) {
    guarded((), sender::stop);
}

/// Runs a callback; a panic in it must not get into nginx, where it would end the worker.
pub(crate) fn guarded<T>(after_panic: T, callback: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(callback)).unwrap_or(after_panic)
}
