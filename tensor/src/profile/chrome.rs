//! A report in the trace-event format of Chrome, which Perfetto reads too.

use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use super::report::Report;

pub(super) fn write(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let dropped = report.dropped_events;
    write!(out, "{{\"displayTimeUnit\": \"ms\", \"droppedEvents\": {dropped}, \"traceEvents\": [")?;
    let process = Text("kiln");
    write!(
        out,
        "\n{{\"name\": \"process_name\", \"ph\": \"M\", \"pid\": 1, \"args\": {{\"name\": {process}}}}}"
    )?;
    for (number, name) in &report.threads {
        write!(
            out,
            ",\n{{\"name\": \"thread_name\", \"ph\": \"M\", \"pid\": 1, \"tid\": {number}, \
             \"args\": {{\"name\": {}}}}}",
            Text(name)
        )?;
    }
    for event in &report.events {
        let category = event.pass.map_or("scope", |pass| pass.name());
        write!(
            out,
            ",\n{{\"name\": {}, \"cat\": \"{category}\", \"ph\": \"X\", \"pid\": 1, \"tid\": {}, \
             \"ts\": {}, \"dur\": {}",
            Text(&event.name),
            event.thread,
            Micros(event.start),
            Micros(event.duration)
        )?;
        if event.pass.is_some() {
            let (flops, bytes) = (event.flops, event.bytes);
            write!(out, ", \"args\": {{\"flops\": {flops}, \"bytes\": {bytes}}}")?;
            let end = Micros(event.start + event.duration);
            write!(
                out,
                "}},\n{{\"name\": \"memory\", \"ph\": \"C\", \"pid\": 1, \"ts\": {end}, \
                 \"args\": {{\"held\": {}}}",
                event.held
            )?;
        }
        write!(out, "}}")?;
    }
    writeln!(out, "\n]}}")
}

/// A duration as the format wants it.
struct Micros(Duration);

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        write!(f, "{}.{:03}", nanos / 1000, nanos % 1000)
    }
}

/// A string of JSON.
struct Text<'a>(&'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for char in self.0.chars() {
            match char {
                '"' | '\\' => write!(f, "\\{char}")?,
                char if char < ' ' => write!(f, "\\u{:04x}", char as u32)?,
                char => write!(f, "{char}")?,
            }
        }
        f.write_str("\"")
    }
}
