//! The one table, and that of the goals, as Markdown.

use super::{
    figures::{self, Quantity, Spread},
    judge::{Judged, Line, Measured},
    work::Against,
};

/// What the table has of each server, in this order.
const COLUMNS: [Quantity; 9] = [
    Quantity::Rate,
    Quantity::P50,
    Quantity::P99,
    Quantity::P999,
    Quantity::Cpu,
    Quantity::ResidentPeak,
    Quantity::Resident,
    Quantity::Disk,
    Quantity::Start,
];

/// All lines: medians of each server, and below them the ratios with their spread.
pub(super) fn figures(lines: &[Line]) -> String {
    let heads = COLUMNS.map(|one| format!(" {} {} |", one.title(), one.unit()));
    let mut text = format!("| work | server |{}\n|---|---|{}\n", heads.concat(), "--:|".repeat(9));
    for line in lines {
        let unit = if line.work.unit == "request" {
            String::new()
        } else {
            format!("; rate and CPU by {}", line.work.unit)
        };
        let mut title = format!("{} (`{}`{unit})", line.work.title, line.work.name);
        for server in &line.servers {
            let title = std::mem::take(&mut title);
            text.push_str(&format!("| {title} | {} |{}\n", server.name, medians(server)));
        }
        let mut against = line.work.ceilings();
        against.insert(0, Against::Original);
        for against in against {
            let cells = COLUMNS.map(|one| line.ratio(one, against));
            if cells.iter().any(Option::is_some) {
                let cells =
                    cells.map(|found| format!(" {} |", found.map_or_else(String::new, ratio)));
                text.push_str(&format!("| | **ours / {}** |{}\n", against.title(), cells.concat()));
            }
        }
    }
    text
}

fn medians(server: &Measured) -> String {
    let cell = |quantity| {
        let found = figures::spread(&server.rounds, quantity);
        format!(" {} |", found.map_or_else(String::new, |found| number(found.median)))
    };
    COLUMNS.map(cell).concat()
}

/// With so many digits as say something.
pub(super) fn number(figure: f64) -> String {
    match figure.abs() {
        0.0..10.0 => format!("{figure:.2}"),
        10.0..100.0 => format!("{figure:.1}"),
        _ => {
            let digits = format!("{figure:.0}");
            let mut text = String::new();
            for (at, digit) in digits.chars().enumerate() {
                if at > 0 && (digits.len() - at).is_multiple_of(3) && !text.ends_with('-') {
                    text.push(',');
                }
                text.push(digit);
            }
            text
        }
    }
}

fn ratio(found: Spread) -> String {
    let Spread { median, least, most } = found;
    format!("**{median:.2}** ({least:.2}–{most:.2})")
}

/// What is wanted, what was found, and whether that is enough.
pub(super) fn goals(judged: &[Judged]) -> String {
    let mut text =
        "| work | figure | wanted | found (least–most) | |\n|---|---|---|---|---|\n".to_owned();
    for one in judged {
        let found = one.found.map_or_else(String::new, ratio);
        let (name, what) = (one.work.name, one.what());
        let (wanted, verdict) = (one.goal.bound, one.verdict);
        text.push_str(&format!("| `{name}` | {what} | {wanted} | {found} | {verdict} |\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yardstick::judge::{
        Kind,
        tests::{line, measured},
    };

    #[test]
    fn numbers_are_as_long_as_they_say_something() {
        for (figure, expected) in [
            (0.444, "0.44"),
            (12.34, "12.3"),
            (123.4, "123"),
            (1_234.0, "1,234"),
            (1_234_567.0, "1,234,567"),
            (-1_234.0, "-1,234"),
            (-123.0, "-123"),
        ] {
            assert_eq!(number(figure), expected);
        }
    }

    #[test]
    fn each_server_has_a_row_and_each_comparison_one_with_its_spread() {
        let servers = vec![
            measured(Kind::Ours, "ours", &[(200.0, 10.0), (300.0, 10.0)]),
            measured(Kind::Original, "etcd 3.4.23", &[(100.0, 20.0), (100.0, 40.0)]),
            measured(Kind::NoopGrpc, "no-op tonic", &[(400.0, 5.0), (400.0, 5.0)]),
        ];
        let lines = [line("get-64", servers)];
        let text = figures(&lines);
        let rows: Vec<&str> = text.lines().collect();
        assert_eq!(rows.len(), 7, "{text}");
        let cells = rows[0].matches('|').count();
        assert!(rows.iter().all(|row| row.matches('|').count() == cells), "{text}");
        assert!(rows[2].contains("(`get-64`) | ours | 250 | 10.0 |"), "{text}");
        assert!(
            rows[5].contains("| **ours / etcd** | **2.50** (2.00–3.00) | **0.38** (0.25–0.50) |")
        );
        assert!(rows[6].contains("| **ours / no-op tonic** | **0.62** (0.50–0.75) |"), "{text}");
        let text = goals(&lines[0].judge());
        let row = "| `get-64` | rate / no-op tonic | at least 0.85 | **0.62** (0.50–0.75) | missed: 0.62 \
                   wanted 0.85 |";
        assert!(text.contains(row), "{text}");
    }
}
