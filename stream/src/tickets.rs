//! Tickets: how a page opens a WebSocket without its cookie doing it.
//!
//! Arrives: a page of ours that is signed in. Leaves: a secret that opens one live view within half a minute. Promises: a ticket
//! works once and only in the process that issued it; it is as good as the session or key it was issued to and ends with that;
//! unused ones are bounded, in number and for each viewer. A page of another site gets none: it cannot name our origin.
//! Does not: store tickets, or carry them from one process to another; a page that misses with its ticket asks again, and falls
//! back to server-sent events.

use std::collections::HashMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use uuid::Uuid;

use crate::error::ApiError;
use crate::http::Service;
use crate::query::Parameters;
use crate::session::Viewer;

/// Those that were issued and not used yet.
#[derive(Default)]
pub struct Tickets {
    held: Mutex<HashMap<[u8; 32], Ticket>>,
}

struct Ticket {
    viewer: Viewer,
    expires: Instant,
}

impl Tickets {
    /// A new one and how long it works.
    pub(crate) fn issue(&self, viewer: Viewer) -> Result<(String, Duration), ApiError> {
        let now = Instant::now();
        let mut held = self.held.lock();
        if held.len() >= TICKETS_MAX {
            held.retain(|_, ticket| ticket.expires > now);
        }
        if held.len() >= TICKETS_MAX {
            return Err(ApiError::overloaded("too many tickets are waiting to be used; try again in a moment"));
        }
        // 244 random bits.
        let secret = format!("pt_{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        held.insert(digest(&secret), Ticket { viewer, expires: now + TTL });
        Ok((secret, TTL))
    }

    /// Whose it is. It is gone with that.
    pub(crate) fn redeem(&self, secret: &str) -> Option<Viewer> {
        let ticket = self.held.lock().remove(&digest(secret))?;
        (ticket.expires > Instant::now()).then_some(ticket.viewer)
    }
}

/// `POST /v1/tickets`
pub async fn issue(State(service): State<Service>, headers: HeaderMap, uri: Uri) -> Result<Response, ApiError> {
    let gate = service.gate();
    gate.check_page(&headers)?;
    let viewer = gate.viewer(&headers).await?;
    Parameters::none(&uri)?;
    let (ticket, expires_ms) = gate.issue_ticket(viewer)?;
    Ok(Json(json!({"ticket": ticket, "expires_ms": expires_ms})).into_response())
}

fn digest(secret: &str) -> [u8; 32] {
    Sha256::digest(secret).into()
}

const TTL: Duration = Duration::from_secs(30);
/// A storm of everybody the service has places for; about 4 MB.
const TICKETS_MAX: usize = 20_000;
