//! The exact dimensions of an event: contiguous bytes that are the rollup's key.

use super::read::{number, text};
use super::write::{put_number, put_text};
use super::{RecordError, tag};
use crate::method::Method;

/// The canonical bytes of a series; equal series have equal bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SeriesKey<'a> {
    pub(super) bytes: &'a [u8],
}

/// The dimensions of a series, readable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Series<'a> {
    /// `service`
    pub service: &'a str,
    /// `env`
    pub env: &'a str,
    /// `route`
    pub route: &'a str,
    /// Empty when absent, `_OTHER` when not standard.
    pub method: &'static str,
    /// 0 when unknown.
    pub status: u16,
}

impl<'a> SeriesKey<'a> {
    /// Takes bytes that came from [`SeriesKey::as_bytes`].
    ///
    /// # Errors
    /// [`RecordError::Malformed`] when they did not.
    pub fn parse(bytes: &'a [u8]) -> Result<SeriesKey<'a>, RecordError> {
        let key = SeriesKey { bytes };
        key.decode().map(|_| key)
    }

    /// The bytes to hash and compare.
    #[inline]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The fields.
    ///
    /// # Errors
    /// [`RecordError::Malformed`].
    pub fn decode(&self) -> Result<Series<'a>, RecordError> {
        let mut input = self.bytes;
        let mut series = Series { service: "", env: "", route: "", method: "", status: 0 };
        while let Some((&field, rest)) = input.split_first() {
            input = rest;
            match field {
                tag::SERVICE => series.service = text(&mut input)?,
                tag::ENV => series.env = text(&mut input)?,
                tag::ROUTE => series.route = text(&mut input)?,
                tag::METHOD => {
                    let method = Method::from_number(number(&mut input)?);
                    series.method = method.ok_or(RecordError::Malformed("unknown method"))?.as_str();
                }
                tag::STATUS => {
                    series.status = u16::try_from(number(&mut input)?)
                        .map_err(|_| RecordError::Malformed("status out of range"))?;
                }
                _ => return Err(RecordError::Malformed("unknown field in a series")),
            }
        }
        if series.service.is_empty() {
            return Err(RecordError::Malformed("series without service"));
        }
        Ok(series)
    }
}

impl Series<'_> {
    /// The canonical bytes, as they would lie in a record.
    pub fn to_key_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.service.len() + self.env.len() + self.route.len() + 16);
        put_text(&mut out, tag::SERVICE, self.service);
        put_text(&mut out, tag::ENV, self.env);
        put_text(&mut out, tag::ROUTE, self.route);
        put_number(&mut out, tag::METHOD, Method::from_name(self.method).number());
        put_number(&mut out, tag::STATUS, u64::from(self.status));
        out
    }
}
