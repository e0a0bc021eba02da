//! Free attributes: written once by the decoders, copied by the builder, read lazily.

use super::read::{number, text, text_bytes};
use super::write::{put_text, text_len};
use super::{CUT, RecordError, tag};
use crate::event::{AttrValue, EncodedAttrs};
use crate::varint;

/// The attributes of an event.
#[derive(Debug, Clone, Copy)]
pub struct Attrs<'a> {
    pub(super) bytes: &'a [u8],
}

impl<'a> Attrs<'a> {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Key and value of each, in the order sent. Ends after the first error.
    pub fn iter(&self) -> impl Iterator<Item = Result<(&'a str, AttrValue<'a>), RecordError>> + use<'a> {
        let mut input = self.bytes;
        std::iter::from_fn(move || {
            let (&field, rest) = input.split_first()?;
            input = rest;
            let attr = if field == tag::ATTR { take_attr(&mut input) } else { Err(CUT) };
            if attr.is_err() {
                input = &[];
            }
            Some(attr)
        })
    }

    /// A flat JSON object, `None` when there are no attributes.
    ///
    /// # Errors
    /// [`RecordError::Malformed`].
    pub fn to_json(&self) -> Result<Option<String>, RecordError> {
        if self.is_empty() {
            return Ok(None);
        }
        let mut object = serde_json::Map::new();
        for attr in self.iter() {
            let (key, value) = attr?;
            let value = match value {
                AttrValue::Text(text) => text.into(),
                AttrValue::Flag(flag) => flag.into(),
                // Whole numbers read back as they were sent, `7` and not `7.0`.
                AttrValue::Number(number) if number.fract() == 0.0 && number.abs() < 9e15 => (number as i64).into(),
                AttrValue::Number(number) => number.into(),
            };
            object.insert(key.to_owned(), value);
        }
        Ok(Some(serde_json::Value::Object(object).to_string()))
    }
}

impl EncodedAttrs {
    /// Adds one attribute in the record's encoding.
    pub(crate) fn push(&mut self, key: &str, value: AttrValue<'_>) {
        let value_len = match value {
            AttrValue::Text(text) => text_len(text),
            AttrValue::Number(_) => 9,
            AttrValue::Flag(_) => 2,
        };
        let key_len = if key.is_empty() { 0 } else { text_len(key) };
        self.bytes.push(tag::ATTR);
        varint::put(&mut self.bytes, (key_len + value_len) as u64);
        if !key.is_empty() {
            put_text(&mut self.bytes, tag::ATTR_KEY, key);
        }
        match value {
            AttrValue::Text(text) => put_text(&mut self.bytes, tag::ATTR_TEXT, text),
            AttrValue::Number(number) => {
                self.bytes.push(tag::ATTR_NUMBER);
                self.bytes.extend_from_slice(&number.to_le_bytes());
            }
            AttrValue::Flag(flag) => self.bytes.extend_from_slice(&[tag::ATTR_FLAG, u8::from(flag)]),
        }
        self.count += 1;
    }
}

fn take_attr<'a>(input: &mut &'a [u8]) -> Result<(&'a str, AttrValue<'a>), RecordError> {
    let mut attr = text_bytes(input)?;
    let mut key = "";
    let mut value = None;
    while let Some((&field, rest)) = attr.split_first() {
        attr = rest;
        match field {
            tag::ATTR_KEY => key = text(&mut attr)?,
            tag::ATTR_TEXT => value = Some(AttrValue::Text(text(&mut attr)?)),
            tag::ATTR_NUMBER => {
                let bytes = varint::take_bytes(&mut attr, 8).ok_or(CUT)?;
                let number = f64::from_le_bytes(bytes.try_into().expect("eight bytes were taken"));
                value = Some(AttrValue::Number(number));
            }
            tag::ATTR_FLAG => value = Some(AttrValue::Flag(number(&mut attr)? != 0)),
            _ => return Err(RecordError::Malformed("unknown field in an attribute")),
        }
    }
    Ok((key, value.ok_or(RecordError::Malformed("attribute without value"))?))
}
