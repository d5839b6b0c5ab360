//! Requests that are mostly sensible and sometimes anything but.

use std::fmt;

use e2e::{
    Request,
    http::{encode_pairs, escape},
};

const NAMES: [&str; 9] = ["a", "b", "c", "d", "B", "_h", "x.y", "with space", "ü"];
const ODD_NAMES: [&str; 12] =
    ["", ".", "..", "a+b", "q?q", "h#h", "semi;colon", "per%cent", "_", "quo\"te", "<b>&", "é/_x"];
const VALUES: [&str; 15] = [
    "",
    "v",
    "w",
    "1",
    "héllo",
    "a=b&c",
    "line\nline",
    "true",
    "quote\"back\\",
    "<b>&amp;",
    "\u{1}\t",
    "\u{2028}",
    " pad ",
    "+1 %41",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
];
const TRUE: [&str; 6] = ["true", "1", "t", "T", "TRUE", "True"];
const FALSE: [&str; 6] = ["false", "0", "f", "F", "FALSE", "False"];
const ODD_BOOLEANS: [&str; 6] = ["", "yes", "tRUE", "2", " true", "y"];
const TTLS: [&str; 4] = ["10000", "30000", "", "50000"];
const ODD_TTLS: [&str; 8] = ["-1", "x", "1.5", " 7", "0x10", "1e3", "99999999999999999999", "+5"];
const ODD_INDEXES: [&str; 8] = ["", "0", "x", "-1", "1.5", "00", "99999999999999999999", "1_0"];
const RAW_QUERIES: [&str; 11] = [
    "value=%zz",
    "value=a%",
    "a;b=c",
    "&&",
    "=",
    "value",
    "value=a=b",
    "dir=true;ttl=1",
    "%64ir=true",
    "value=1&value=2",
    "recursive&sorted",
];
const RAW_FORMS: [&str; 10] = [
    "value=%zz",
    "value",
    "value=a%2",
    "&&value=x&&",
    "=x",
    "value=a;ttl=x",
    "{\"value\":1}",
    "",
    "value=1&value=2",
    "v%61lue=x+y%2By",
];
const TYPES: [&str; 6] = [
    "application/x-www-form-urlencoded; charset=utf-8",
    "text/plain",
    "application/json",
    "APPLICATION/X-WWW-FORM-URLENCODED",
    "multipart/form-data; boundary=x",
    "nonsense",
];

/// Names that a key may begin with.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    NAMES.into_iter().chain(ODD_NAMES).filter(|name| !["", ".", ".."].contains(name))
}

/// A request whose indexes are still relative.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    method: &'static str,
    pub(crate) key: String,
    query: Vec<(String, Given)>,
    raw_query: Option<&'static str>,
    form: Vec<(String, Given)>,
    raw_form: Option<&'static str>,
    content_type: Option<&'static str>,
    /// Whether the answer may never come.
    pub(crate) may_block: bool,
    pub(crate) sorted: bool,
    pub(crate) writes_at_most: u64,
}

/// The value of a parameter.
#[derive(Clone, Debug)]
enum Given {
    Text(String),
    /// Counted from the scenario's base.
    Index(u64),
}

impl Asked {
    pub(crate) fn request(&self, base: u64) -> Request {
        let mut target = format!("/v2/keys{}", escape(&self.key, "/;+"));
        let pairs = |pairs: &[(String, Given)]| -> Vec<(String, String)> {
            pairs.iter().map(|(name, given)| (name.clone(), given.text(base))).collect()
        };
        let mut query = encode_pairs(&pairs(&self.query));
        if let Some(raw) = self.raw_query {
            query += if query.is_empty() { "" } else { "&" };
            query += raw;
        }
        if !query.is_empty() {
            target = format!("{target}?{query}");
        }
        let request = Request::new(self.method, &target);
        let form = encode_pairs(&pairs(&self.form));
        match (self.raw_form, form.is_empty(), self.content_type) {
            (None, true, _) => request,
            (raw, _, content_type) => {
                let content_type = content_type.unwrap_or("application/x-www-form-urlencoded");
                request.header("Content-Type", content_type).body(raw.unwrap_or(&form))
            }
        }
    }
}

impl Given {
    fn text(&self, base: u64) -> String {
        match self {
            Given::Text(text) => text.clone(),
            Given::Index(index) => (base + index).to_string(),
        }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let request = self.request(0);
        write!(f, "{} {}", request.method, request.target)?;
        if let Some(body) = &request.body {
            let content_type = &request.headers[0].1;
            write!(f, " [{content_type}] {}", String::from_utf8_lossy(body))?;
        }
        Ok(())
    }
}

pub(crate) struct Generator {
    random: fastrand::Rng,
    root: String,
    /// No index of the scenario is beyond this.
    last: u64,
}

impl Generator {
    pub(crate) fn new(root: String, seed: u64) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), root, last: 0 }
    }

    /// Takes note of writes that may have moved the index.
    pub(crate) fn learn(&mut self, writes: u64) {
        self.last += writes;
    }

    pub(crate) fn next(&mut self) -> Asked {
        let mut asked = Asked {
            method: "GET",
            key: self.key(),
            query: Vec::new(),
            raw_query: None,
            form: Vec::new(),
            raw_form: None,
            content_type: None,
            may_block: false,
            sorted: false,
            writes_at_most: 0,
        };
        match self.random.u8(0..100) {
            0..50 => self.put(&mut asked),
            50..66 => self.get(&mut asked),
            66..74 => self.watch(&mut asked),
            74..87 => self.delete(&mut asked),
            87..96 => self.post(&mut asked),
            _ => {
                asked.method = self.pick(&["HEAD", "HEAD", "PATCH", "OPTIONS", "TRACE", "put"]);
                self.flag(&mut asked, "recursive", 30);
            }
        }
        if self.chance(3) {
            asked.raw_query = Some(self.pick(&RAW_QUERIES));
        }
        asked
    }

    fn put(&mut self, asked: &mut Asked) {
        asked.method = "PUT";
        asked.writes_at_most = 1;
        if self.chance(85) {
            let value = self.value();
            self.give(asked, "value", Given::Text(value));
        }
        self.flag(asked, "dir", 18);
        self.flag(asked, "prevExist", 25);
        if self.chance(20) {
            let value = self.value();
            self.give(asked, "prevValue", Given::Text(value));
        }
        if self.chance(15) {
            let index = self.index();
            self.give(asked, "prevIndex", index);
        }
        self.time_to_live(asked, 20);
        self.flag(asked, "refresh", 8);
        self.flag(asked, "noValueOnSuccess", 6);
        self.odd_parameters(asked);
        self.odd_form(asked);
    }

    fn post(&mut self, asked: &mut Asked) {
        asked.method = "POST";
        asked.writes_at_most = 1;
        let value = self.value();
        self.give(asked, "value", Given::Text(value));
        self.flag(asked, "dir", 10);
        self.time_to_live(asked, 20);
        self.flag(asked, "prevExist", 4);
        self.flag(asked, "refresh", 3);
        self.odd_parameters(asked);
        self.odd_form(asked);
    }

    fn delete(&mut self, asked: &mut Asked) {
        asked.method = "DELETE";
        asked.writes_at_most = 1;
        self.flag(asked, "dir", 30);
        self.flag(asked, "recursive", 30);
        if self.chance(15) {
            let value = Given::Text(self.value());
            asked.query.push(("prevValue".to_owned(), value));
        }
        if self.chance(15) {
            let index = self.index();
            asked.query.push(("prevIndex".to_owned(), index));
        }
        self.odd_parameters(asked);
    }

    fn get(&mut self, asked: &mut Asked) {
        self.flag(asked, "recursive", 45);
        self.flag(asked, "quorum", 15);
        if self.chance(30) {
            asked.query.push(("sorted".to_owned(), Given::Text("true".to_owned())));
            asked.sorted = true;
        }
        self.odd_parameters(asked);
    }

    fn watch(&mut self, asked: &mut Asked) {
        asked.may_block = true;
        asked.query.push(("wait".to_owned(), Given::Text("true".to_owned())));
        self.flag(asked, "recursive", 60);
        if self.chance(90) {
            let index = self.index();
            asked.query.push(("waitIndex".to_owned(), index));
        }
        self.flag(asked, "quorum", 5);
        self.flag(asked, "sorted", 3);
    }

    fn time_to_live(&mut self, asked: &mut Asked, percent: u8) {
        if self.chance(percent) {
            let ttl = if self.chance(85) { self.pick(&TTLS) } else { self.pick(&ODD_TTLS) };
            self.give(asked, "ttl", Given::Text(ttl.to_owned()));
        }
    }

    /// Parameters where they do not belong, or twice.
    fn odd_parameters(&mut self, asked: &mut Asked) {
        if !self.chance(8) {
            return;
        }
        let names = ["recursive", "sorted", "quorum", "dir", "prevExist", "refresh"];
        let name = self.pick(&names);
        if name == "sorted" || asked.query.iter().any(|(given, _)| given == "prevValue") {
            return;
        }
        let odd = self.pick(&ODD_BOOLEANS);
        self.give(asked, name, Given::Text(odd.to_owned()));
        if self.chance(40) {
            let value = self.value();
            self.give(asked, "value", Given::Text(value));
        }
    }

    fn odd_form(&mut self, asked: &mut Asked) {
        if self.chance(4) {
            asked.raw_form = Some(self.pick(&RAW_FORMS));
        }
        if self.chance(4) {
            asked.content_type = Some(self.pick(&TYPES));
        }
    }

    fn flag(&mut self, asked: &mut Asked, name: &str, percent: u8) {
        if self.chance(percent) {
            let value = match self.random.u8(0..20) {
                0 => self.pick(&ODD_BOOLEANS),
                1..5 => self.pick(&FALSE),
                _ => self.pick(&TRUE),
            };
            self.give(asked, name, Given::Text(value.to_owned()));
        }
    }

    /// A parameter in the form or, for what has none and now and then, in the query.
    fn give(&mut self, asked: &mut Asked, name: &str, given: Given) {
        let has_form = asked.method == "PUT" || asked.method == "POST";
        let pairs = if has_form && !self.chance(20) { &mut asked.form } else { &mut asked.query };
        pairs.push((name.to_owned(), given));
    }

    fn key(&mut self) -> String {
        let mut key = if self.chance(2) { String::new() } else { self.root.clone() };
        for _ in 0..self.pick(&[0, 1, 1, 1, 1, 1, 2, 2, 2, 3]) {
            let name = if self.chance(96) { self.pick(&NAMES) } else { self.pick(&ODD_NAMES) };
            key = format!("{key}/{name}");
        }
        // The root's own listing holds what differs: other scenarios, and old indexes.
        if key.is_empty() || key == "/" { format!("{}/a", self.root) } else { key }
    }

    fn value(&mut self) -> String {
        // Few values, or no compare would ever succeed.
        let from = if self.chance(60) { &VALUES[..4] } else { &VALUES[..] };
        self.pick(from).to_owned()
    }

    fn index(&mut self) -> Given {
        match self.random.u8(0..20) {
            0..2 => Given::Text(self.pick(&ODD_INDEXES).to_owned()),
            2 => Given::Index(self.last + 50),
            _ => Given::Index(self.random.u64(0..=self.last)),
        }
    }

    fn chance(&mut self, percent: u8) -> bool {
        self.random.u8(0..100) < percent
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.random.usize(0..from.len())]
    }
}
