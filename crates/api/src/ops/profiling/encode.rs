//! From what the profiler has seen to what pprof reads.

use std::{collections::BTreeMap, time::Duration};

use profiler::{Report, Symbol};
use proto::profile::{Function, Label, Line, Location, Profile, Sample, ValueType};

/// Stands for samples of which is known that they were, and not where.
const LOST: &str = "[not unwound]";

/// A profile of so long, for which threads were looked at so often a second.
pub(super) fn profile(report: &Report, time: Duration, frequency: u32) -> Profile {
    let period = 1_000_000_000 / i64::from(frequency.max(1));
    let mut tables = Tables::new();
    let (samples, count) = (tables.text("samples"), tables.text("count"));
    let (cpu, nanoseconds) = (tables.text("cpu"), tables.text("nanoseconds"));
    let thread = tables.text("thread");
    let mut sample = Vec::with_capacity(report.stacks.len());
    let value = |times: u64| {
        let times = i64::try_from(times).unwrap_or(i64::MAX);
        vec![times, times.saturating_mul(period)]
    };
    for stack in &report.stacks {
        let frames = stack.frames.iter();
        let location_id = frames
            .map(|frame| tables.location(*frame, report.names.get(frame).map(Vec::as_slice)))
            .collect();
        let label = vec![Label { key: thread, str: tables.text(&stack.thread) }];
        sample.push(Sample { location_id, value: value(stack.times), label });
    }
    if report.lost > 0 {
        let location_id = vec![tables.location(0, Some(&[named(LOST)]))];
        sample.push(Sample { location_id, value: value(report.lost), label: Vec::new() });
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

fn named(name: &str) -> Symbol {
    let name = name.to_owned();
    Symbol { system_name: name.clone(), name, file: String::new(), line: 0 }
}

/// What samples refer to: each once.
struct Tables {
    texts: Vec<String>,
    places: BTreeMap<String, i64>,
    functions: Vec<Function>,
    functions_by_name: BTreeMap<(i64, i64), u64>,
    locations: Vec<Location>,
    locations_by_address: BTreeMap<u64, u64>,
}

impl Tables {
    fn new() -> Self {
        Self {
            texts: vec![String::new()],
            places: BTreeMap::from([(String::new(), 0)]),
            functions: Vec::new(),
            functions_by_name: BTreeMap::new(),
            locations: Vec::new(),
            locations_by_address: BTreeMap::new(),
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
        let (name, filename) = (self.text(&symbol.name), self.text(&symbol.file));
        let next = self.functions.len() as u64 + 1;
        let id = *self.functions_by_name.entry((name, filename)).or_insert(next);
        if id == next {
            let system_name = self.text(&symbol.system_name);
            self.functions.push(Function { id, name, system_name, filename });
        }
        id
    }

    /// `symbols`: of one address, the innermost first. Where nothing is known, the address is the name.
    fn location(&mut self, address: u64, symbols: Option<&[Symbol]>) -> u64 {
        if let Some(id) = self.locations_by_address.get(&address) {
            return *id;
        }
        let unknown = [named(&format!("{address:#x}"))];
        let symbols = symbols.filter(|symbols| !symbols.is_empty()).unwrap_or(&unknown);
        let line = symbols.iter().map(|symbol| Line {
            function_id: self.function(symbol),
            line: i64::from(symbol.line),
        });
        let line = line.collect();
        let id = self.locations.len() as u64 + 1;
        self.locations.push(Location { id, address, line });
        self.locations_by_address.insert(address, id);
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_unwound_counts_too() {
        let stack = |frames: &[u64], times| profiler::Stack {
            thread: "t".to_owned(),
            frames: frames.to_vec(),
            times,
        };
        let stacks = vec![stack(&[1, 2], 3), stack(&[2], 4)];
        let names = BTreeMap::from([(1, vec![named("a"), named("b")]), (2, Vec::new())]);
        let profile = profile(&Report { stacks, names, lost: 5 }, Duration::from_secs(1), 100);
        let text = |at: i64| profile.string_table[usize::try_from(at).unwrap()].as_str();
        let name = |id: u64| {
            let of = |line: &Line| {
                text(profile.function.iter().find(|one| one.id == line.function_id).unwrap().name)
                    .to_owned()
            };
            let location = profile.location.iter().find(|location| location.id == id).unwrap();
            location.line.iter().map(of).collect::<Vec<_>>()
        };
        let samples = profile.sample.iter().map(|sample| {
            let names: Vec<_> = sample.location_id.iter().flat_map(|id| name(*id)).collect();
            (names.join(" "), sample.value[0])
        });
        let samples: Vec<_> = samples.collect();
        let expected = [("a b 0x2", 3), ("0x2", 4), (LOST, 5)];
        assert_eq!(samples, expected.map(|(names, times)| (names.to_owned(), times)));
    }
}
