//! The directives.
//!
//! - `peep_socket PATH` (http): the socket of `peep ship --nginx unix:PATH`; without it the module does nothing.
//! - `peep on|off` (http, server, location): whether requests are sent; off.
//! - `peep_service NAME` (http, server, location): whose requests they are; else the shipper's `--service`.
//! - `peep_route TEMPLATE` (location): their route; else the shipper makes a template of the path.

use std::ffi::{c_char, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use ngx::core::{NGX_CONF_ERROR, NGX_CONF_OK};
use ngx::ffi::{
    ngx_command_t, ngx_conf_t, ngx_str_t, ngx_uint_t, NGX_CONF_TAKE1, NGX_HTTP_LOC_CONF, NGX_HTTP_LOC_CONF_OFFSET,
    NGX_HTTP_MAIN_CONF, NGX_HTTP_MAIN_CONF_OFFSET, NGX_HTTP_SRV_CONF,
};
use ngx::http::{HttpModuleMainConf, Merge, MergeConfigError};
use ngx::{ngx_conf_log_error, ngx_string};

use crate::{guarded, Peep};

/// Of the whole `http` block.
#[derive(Default)]
pub(crate) struct MainConf {
    socket: Vec<u8>,
}

impl MainConf {
    pub(crate) fn of(cf: &ngx_conf_t) -> Option<&'static Self> {
        Peep::main_conf(cf)
    }

    pub(crate) fn socket(&self) -> Option<&Path> {
        (!self.socket.is_empty()).then(|| Path::new(std::ffi::OsStr::from_bytes(&self.socket)))
    }
}

/// Of one location, merged with those around it.
#[derive(Default)]
pub(crate) struct LocationConf {
    enabled: Option<bool>,
    service: Option<Vec<u8>>,
    route: Option<Vec<u8>>,
}

impl LocationConf {
    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled == Some(true)
    }

    pub(crate) fn service(&self) -> &[u8] {
        self.service.as_deref().unwrap_or_default()
    }

    pub(crate) fn route(&self) -> Option<&[u8]> {
        self.route.as_deref()
    }
}

impl Merge for LocationConf {
    fn merge(&mut self, outer: &Self) -> Result<(), MergeConfigError> {
        self.enabled = self.enabled.or(outer.enabled);
        if self.service.is_none() {
            self.service.clone_from(&outer.service);
        }
        if self.route.is_none() {
            self.route.clone_from(&outer.route);
        }
        Ok(())
    }
}

const EVERYWHERE: u32 = NGX_HTTP_MAIN_CONF | NGX_HTTP_SRV_CONF | NGX_HTTP_LOC_CONF | NGX_CONF_TAKE1;

pub(crate) static mut COMMANDS: [ngx_command_t; 5] = [
    ngx_command_t {
        name: ngx_string!("peep_socket"),
        type_: (NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE1) as ngx_uint_t,
        set: Some(set_socket),
        conf: NGX_HTTP_MAIN_CONF_OFFSET,
        offset: 0,
        post: ptr::null_mut(),
    },
    ngx_command_t {
        name: ngx_string!("peep"),
        type_: EVERYWHERE as ngx_uint_t,
        set: Some(set_enabled),
        conf: NGX_HTTP_LOC_CONF_OFFSET,
        offset: 0,
        post: ptr::null_mut(),
    },
    ngx_command_t {
        name: ngx_string!("peep_service"),
        type_: EVERYWHERE as ngx_uint_t,
        set: Some(set_service),
        conf: NGX_HTTP_LOC_CONF_OFFSET,
        offset: 0,
        post: ptr::null_mut(),
    },
    ngx_command_t {
        name: ngx_string!("peep_route"),
        type_: (NGX_HTTP_LOC_CONF | NGX_CONF_TAKE1) as ngx_uint_t,
        set: Some(set_route),
        conf: NGX_HTTP_LOC_CONF_OFFSET,
        offset: 0,
        post: ptr::null_mut(),
    },
    ngx_command_t::empty(),
];

extern "C" fn set_socket(cf: *mut ngx_conf_t, _command: *mut ngx_command_t, conf: *mut c_void) -> *mut c_char {
    set(cf, |argument| {
        if !argument.starts_with(b"/") || argument.len() > SOCKET_BYTES_MAX {
            return Err("takes an absolute path of at most 107 bytes");
        }
        // SAFETY: nginx gives what `create_main_conf` made, and nobody else holds it meanwhile.
        unsafe { &mut *conf.cast::<MainConf>() }.socket = argument.to_vec();
        Ok(())
    })
}

/// `sun_path` and its ending zero.
const SOCKET_BYTES_MAX: usize = 107;

extern "C" fn set_enabled(cf: *mut ngx_conf_t, _command: *mut ngx_command_t, conf: *mut c_void) -> *mut c_char {
    set_location(cf, conf, |location, argument| {
        location.enabled = match argument {
            b"on" => Some(true),
            b"off" => Some(false),
            _ => return Err("takes on or off"),
        };
        Ok(())
    })
}

extern "C" fn set_service(cf: *mut ngx_conf_t, _command: *mut ngx_command_t, conf: *mut c_void) -> *mut c_char {
    set_location(cf, conf, |location, argument| {
        let named = argument.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._/-".contains(byte));
        if !named || argument.is_empty() || argument.len() > peep_nginx_record::SERVICE_BYTES_MAX {
            return Err("takes 1 to 128 of A-Z a-z 0-9 . _ / -");
        }
        location.service = Some(argument.to_vec());
        Ok(())
    })
}

extern "C" fn set_route(cf: *mut ngx_conf_t, _command: *mut ngx_command_t, conf: *mut c_void) -> *mut c_char {
    set_location(cf, conf, |location, argument| {
        let plain = argument.iter().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'?' | b'#'));
        if !plain || !argument.starts_with(b"/") || argument.len() > ROUTE_BYTES_MAX {
            return Err("takes a template such as /orders/{id}, of at most 256 plain characters");
        }
        location.route = Some(argument.to_vec());
        Ok(())
    })
}

/// As long as a route may be.
const ROUTE_BYTES_MAX: usize = 256;

fn set_location(
    cf: *mut ngx_conf_t,
    conf: *mut c_void,
    apply: impl FnOnce(&mut LocationConf, &[u8]) -> Result<(), &'static str>,
) -> *mut c_char {
    set(cf, |argument| {
        // SAFETY: nginx gives what `create_loc_conf` made, and nobody else holds it meanwhile.
        apply(unsafe { &mut *conf.cast::<LocationConf>() }, argument)
    })
}

/// Hands on the one argument of a directive; what is wrong with it is said with the line of the configuration.
fn set(cf: *mut ngx_conf_t, apply: impl FnOnce(&[u8]) -> Result<(), &'static str>) -> *mut c_char {
    guarded(NGX_CONF_ERROR, || {
        // SAFETY: nginx has counted the arguments (TAKE1): the directive itself and one more.
        let (name, argument) = unsafe {
            let words = (*(*cf).args).elts.cast::<ngx_str_t>();
            ((*words).as_bytes(), (*words.add(1)).as_bytes())
        };
        match apply(argument) {
            Ok(()) => NGX_CONF_OK,
            Err(problem) => {
                let name = String::from_utf8_lossy(name);
                ngx_conf_log_error!(ngx::ffi::NGX_LOG_EMERG, cf, "\"{}\" {}", name, problem);
                NGX_CONF_ERROR
            }
        }
    })
}
