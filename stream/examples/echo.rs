//! A WebSocket server that echoes, with the frames and the inbound side of the product: for conformance suites, whose clients want to
//! hear what they said. `cargo run -p peep-stream --example echo -- 127.0.0.1:9001`

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use peep_stream::websocket;
use peep_stream::websocket::frame::{self, Opcode};
use peep_stream::websocket::inbound::{Event, Inbound, Violation};

fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".to_owned());
    for stream in TcpListener::bind(address)?.incoming() {
        let stream = stream?;
        std::thread::spawn(move || {
            if let Err(error) = serve(stream) {
                eprintln!("{error}");
            }
        });
    }
    Ok(())
}

fn serve(stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    let headers = head(&mut reader)?;
    let answer = match websocket::accept(&Method::GET, Version::HTTP_11, &headers) {
        Ok(answer) => answer,
        Err(error) => return write!(writer, "HTTP/1.1 {} no\r\ncontent-length: 0\r\n\r\n", error.status.as_u16()),
    };
    let mut head = "HTTP/1.1 101 Switching Protocols\r\n".to_owned();
    for (name, value) in answer.headers() {
        head.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap_or_default()));
    }
    writer.write_all(format!("{head}\r\n").as_bytes())?;

    let mut inbound = Inbound::new(MESSAGE_BYTES_MAX);
    let (mut buffer, mut message) = (vec![0; 64 << 10], Vec::new());
    loop {
        let length = reader.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        let (mut says, mut is_over) = (Vec::new(), false);
        let read = inbound.read(&mut buffer[..length], |event| match event {
            Event::Piece { opcode, bytes, is_last } => {
                message.extend_from_slice(bytes);
                if is_last {
                    says.push(frame::message(opcode, &std::mem::take(&mut message)));
                }
            }
            Event::Ping(payload) => says.push(frame::control(Opcode::Pong, payload)),
            Event::Close(code) => {
                says.push(frame::close(code, ""));
                is_over = true;
            }
            Event::Frame | Event::Pong => {}
        });
        if let Err(Violation { code, reason }) = read {
            says.push(frame::close(Some(code), reason));
            is_over = true;
        }
        writer.write_all(&says.concat())?;
        if is_over {
            writer.shutdown(Shutdown::Write)?;
            // Until the client hangs up; closing at once could throw away what it has not read.
            while reader.read(&mut buffer)? > 0 {}
            return Ok(());
        }
    }
}

fn head(reader: &mut impl BufRead) -> std::io::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            return Ok(headers);
        }
        let Some((name, value)) = line.trim().split_once(':') else { continue };
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::try_from(value.trim())) {
            headers.append(name, value);
        }
    }
}

/// The largest message of the suites.
const MESSAGE_BYTES_MAX: u64 = 16 << 20;
