//! From what the profiler has seen to what pprof reads.

use std::{collections::BTreeMap, time::Duration};

use pprof::{Report, Symbol};
use proto::profile::{Function, Label, Line, Location, Profile, Sample, ValueType};

/// A profile of so long, for which threads were looked at so often a second.
pub(super) fn profile(report: &Report, time: Duration, frequency: i32) -> Profile {
    let period = 1_000_000_000 / i64::from(frequency.max(1));
    let mut tables = Tables::new();
    let (samples, count) = (tables.text("samples"), tables.text("count"));
    let (cpu, nanoseconds) = (tables.text("cpu"), tables.text("nanoseconds"));
    let thread = tables.text("thread");
    let mut sample = Vec::with_capacity(report.data.len());
    for (frames, times) in &report.data {
        let location_id = frames.frames.iter().map(|symbols| tables.location(symbols)).collect();
        let times = i64::try_from(*times).unwrap_or(i64::MAX);
        let label = vec![Label { key: thread, str: tables.text(&frames.thread_name) }];
        sample.push(Sample {
            location_id,
            value: vec![times, times.saturating_mul(period)],
            label,
        });
    }
    Profile {
        sample_type: vec![
            ValueType { r#type: samples, unit: count },
            ValueType { r#type: cpu, unit: nanoseconds },
        ],
        sample,
        duration_nanos: i64::try_from(time.as_nanos()).unwrap_or(i64::MAX),
        period_type: Some(ValueType { r#type: cpu, unit: nanoseconds }),
        period,
        location: tables.locations,
        function: tables.functions,
        string_table: tables.texts,
        time_nanos: 0,
    }
}

/// What samples refer to: each once.
struct Tables {
    texts: Vec<String>,
    places: BTreeMap<String, i64>,
    functions: Vec<Function>,
    functions_by_name: BTreeMap<(i64, i64), u64>,
    locations: Vec<Location>,
    locations_by_lines: BTreeMap<Vec<(u64, i64)>, u64>,
}

impl Tables {
    fn new() -> Self {
        Self {
            texts: vec![String::new()],
            places: BTreeMap::from([(String::new(), 0)]),
            functions: Vec::new(),
            functions_by_name: BTreeMap::new(),
            locations: Vec::new(),
            locations_by_lines: BTreeMap::new(),
        }
    }

    fn text(&mut self, text: &str) -> i64 {
        if let Some(place) = self.places.get(text) {
            return *place;
        }
        let place = i64::try_from(self.texts.len()).unwrap_or(i64::MAX);
        self.texts.push(text.to_owned());
        self.places.insert(text.to_owned(), place);
        place
    }

    fn function(&mut self, symbol: &Symbol) -> u64 {
        let name = self.text(&symbol.name());
        let filename = self.text(&symbol.filename());
        let next = self.functions.len() as u64 + 1;
        let id = *self.functions_by_name.entry((name, filename)).or_insert(next);
        if id == next {
            let system_name = self.text(&symbol.sys_name());
            self.functions.push(Function { id, name, system_name, filename });
        }
        id
    }

    /// `symbols`: of one frame, the innermost first.
    fn location(&mut self, symbols: &[Symbol]) -> u64 {
        let lines: Vec<(u64, i64)> = symbols
            .iter()
            .map(|symbol| (self.function(symbol), i64::from(symbol.lineno())))
            .collect();
        let next = self.locations.len() as u64 + 1;
        let id = *self.locations_by_lines.entry(lines.clone()).or_insert(next);
        if id == next {
            let line = lines.into_iter().map(|(function_id, line)| Line { function_id, line });
            self.locations.push(Location { id, address: 0, line: line.collect() });
        }
        id
    }
}
