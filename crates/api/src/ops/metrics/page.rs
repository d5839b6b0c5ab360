//! The text of a page, as it grows.

use std::{fmt::Display, time::Duration};

use base::Histogram;

/// The text, as it grows.
#[derive(Default)]
pub(crate) struct Page {
    pub(crate) text: String,
}

pub(crate) type Labels<'a> = &'a [(&'a str, &'a str)];

impl Page {
    pub(crate) fn begin(&mut self, name: &str, help: &str, kind: &str) {
        self.write(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    pub(crate) fn sample(&mut self, name: &str, labels: Labels<'_>, value: impl Display) {
        self.text.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            let before = if at == 0 { '{' } else { ',' };
            self.write(format_args!("{before}{label}=\"{text}\""));
        }
        let after = if labels.is_empty() { "" } else { "}" };
        self.write(format_args!("{after} {value}\n"));
    }

    pub(crate) fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.begin(name, help, "gauge");
        self.sample(name, &[], value);
    }

    pub(crate) fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.begin(name, help, "counter");
        self.sample(name, &[], value);
    }

    /// In seconds.
    pub(crate) fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.begin(name, help, "histogram");
        self.durations(name, &[], histogram);
    }

    /// In milliseconds.
    pub(crate) fn millis(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.begin(name, help, "histogram");
        self.buckets(name, &[], histogram, 1e3);
    }

    /// One histogram of several that have a name in common.
    pub(crate) fn durations(&mut self, name: &str, labels: Labels<'_>, histogram: &Histogram) {
        self.buckets(name, labels, histogram, 1.0);
    }

    fn buckets(&mut self, name: &str, labels: Labels<'_>, histogram: &Histogram, unit: f64) {
        let (bucket, mut count) = (format!("{name}_bucket"), 0);
        for (bound, up_to) in histogram.buckets() {
            count = up_to;
            let bound = bound.map_or("+Inf".to_owned(), |bound| shortest(of_unit(bound, unit)));
            self.sample(&bucket, &[labels, &[("le", &bound)]].concat(), up_to);
        }
        self.sample(&format!("{name}_sum"), labels, histogram.sum() * unit);
        self.sample(&format!("{name}_count"), labels, count);
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        self.text.push_str(&text.to_string());
    }
}

/// `unit`: so many make a second.
fn of_unit(time: Duration, unit: f64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "bounds are round")]
    let nanos = time.as_nanos() as f64;
    nanos / (1e9 / unit)
}

/// As Go writes it, since it is a part of a series' name: with an exponent from a million on.
fn shortest(number: f64) -> String {
    if !(1e6..1e21).contains(&number) {
        return number.to_string();
    }
    let text = format!("{number:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    format!("{digits}e+{exponent:0>2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_what_prometheus_reads() {
        let mut page = Page::default();
        page.gauge("a", "An a.", 1);
        page.begin("b", "Many b.", "counter");
        page.sample("b", &[("x", "1"), ("y", "2")], 0.5);
        let histogram = Histogram::doubling(Duration::from_millis(1), 2);
        for millis in [1, 2, 3] {
            histogram.record(Duration::from_millis(millis));
        }
        page.histogram("c", "How long.", &histogram);
        page.millis("d", "How long.", &histogram);
        let expected = "# HELP a An a.\n# TYPE a gauge\na 1\n\
                        # HELP b Many b.\n# TYPE b counter\nb{x=\"1\",y=\"2\"} 0.5\n\
                        # HELP c How long.\n# TYPE c histogram\n\
                        c_bucket{le=\"0.001\"} 1\nc_bucket{le=\"0.002\"} 2\n\
                        c_bucket{le=\"+Inf\"} 3\nc_sum 0.006\nc_count 3\n\
                        # HELP d How long.\n# TYPE d histogram\n\
                        d_bucket{le=\"1\"} 1\nd_bucket{le=\"2\"} 2\n\
                        d_bucket{le=\"+Inf\"} 3\nd_sum 6\nd_count 3\n";
        assert_eq!(page.text, expected);
    }

    /// Recorded from etcd 3.4.
    #[test]
    fn bounds_are_written_as_go_writes_them() {
        let check = |number, expected| assert_eq!(shortest(number), expected);
        check(0.0005, "0.0005");
        check(655.36, "655.36");
        check(524_288.0, "524288");
        check(819_200.0, "819200");
        check(1_048_576.0, "1.048576e+06");
        check(8_388_608.0, "8.388608e+06");
    }
}
