//! The goals' ratios as bars with their spread, as SVG, written by hand.

use super::{
    judge::{Judged, Verdict},
    work::{Against, Bound},
};

const LABEL_WIDTH: f64 = 360.0;
const PLOT_WIDTH: f64 = 520.0;
const TEXT_WIDTH: f64 = 190.0;
const ROW_HEIGHT: f64 = 24.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 16.0;
/// The axis is one of powers: half is as far from one as twice is. What is beyond it ends at its edge.
const LEAST: f64 = 0.05;
const MOST: f64 = 20.0;
const TICKS: [f64; 8] = [0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 20.0];

/// A bar for each goal that is a ratio: from "as the other one" to the median, with the least and the most
/// of the rounds, and a mark where the goal is.
pub(super) fn svg(judged: &[Judged], title: &str) -> String {
    let ratios: Vec<&Judged> =
        judged.iter().filter(|one| one.goal.against != Against::Itself).collect();
    #[allow(clippy::cast_precision_loss, reason = "a count")]
    let height = TOP + ROW_HEIGHT * ratios.len() as f64 + BOTTOM;
    let width = LABEL_WIDTH + PLOT_WIDTH + TEXT_WIDTH;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"8\" y=\"18\" font-weight=\"bold\">{}</text>\n",
        escape(title)
    );
    for tick in TICKS {
        let x = place(tick);
        let color = if (tick - 1.0).abs() < f64::EPSILON { "#555555" } else { "#dddddd" };
        text.push_str(&format!(
            "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{:.1}\" stroke=\"{color}\"/>\n\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#555555\">{tick}×</text>\n",
            height - BOTTOM,
            TOP - 6.0
        ));
    }
    let mut y = TOP;
    for one in ratios {
        text.push_str(&row(one, y));
        y += ROW_HEIGHT;
    }
    text.push_str("</svg>\n");
    text
}

fn row(one: &Judged, y: f64) -> String {
    let middle = y + ROW_HEIGHT / 2.0;
    let base = middle + 4.0;
    let label = escape(&format!("{}: {}", one.work.name, one.what()));
    let mut text = format!(
        "<text x=\"{:.1}\" y=\"{base:.1}\" text-anchor=\"end\">{label}</text>\n",
        LABEL_WIDTH - 8.0
    );
    if let Some(found) = one.found {
        let (from, to) = (place(1.0).min(place(found.median)), place(1.0).max(place(found.median)));
        let color = if one.verdict == Verdict::Met { "#3b8f4a" } else { "#c0583c" };
        text.push_str(&format!(
            "<rect x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{color}\"/>\n",
            y + 5.0,
            (to - from).max(1.0),
            ROW_HEIGHT - 10.0
        ));
        let (least, most) = (place(found.least), place(found.most));
        text.push_str(&format!(
            "<path d=\"M{least:.1} {:.1}v8M{least:.1} {middle:.1}H{most:.1}M{most:.1} {:.1}v8\" \
             stroke=\"#000000\" fill=\"none\"/>\n",
            middle - 4.0,
            middle - 4.0
        ));
    }
    let wanted = match one.goal.bound {
        Bound::AtMost(wanted) | Bound::AtLeast(wanted) => place(wanted),
    };
    text.push_str(&format!(
        "<line x1=\"{wanted:.1}\" y1=\"{:.1}\" x2=\"{wanted:.1}\" y2=\"{:.1}\" stroke=\"#1f4fbf\" \
         stroke-width=\"3\"/>\n<text x=\"{:.1}\" y=\"{base:.1}\">{}</text>\n",
        y + 2.0,
        y + ROW_HEIGHT - 2.0,
        LABEL_WIDTH + PLOT_WIDTH + 8.0,
        escape(&one.verdict.to_string())
    ));
    text
}

fn place(ratio: f64) -> f64 {
    let ratio = ratio.clamp(LEAST, MOST);
    LABEL_WIDTH + PLOT_WIDTH * (ratio / LEAST).ln() / (MOST / LEAST).ln()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yardstick::{
        judge::{
            Kind,
            tests::{line, measured},
        },
        work,
    };

    /// All tags are closed in order, all attributes are quoted, and no text has a bare sign.
    fn well_formed(svg: &str) -> Result<usize, String> {
        let mut open = Vec::new();
        let mut elements = 0;
        let mut rest = svg;
        while let Some((text, behind)) = rest.split_once('<') {
            let names = ["&amp;", "&lt;", "&gt;", "&quot;"];
            let rest_of_text =
                names.iter().fold(text.to_owned(), |text, name| text.replace(name, ""));
            if rest_of_text.contains(['>', '&']) {
                return Err(format!("in text: {text}"));
            }
            let (tag, behind) = behind.split_once('>').ok_or("an open tag")?;
            rest = behind;
            if let Some(name) = tag.strip_prefix('/') {
                let opened = open.pop();
                if opened != Some(name) {
                    return Err(format!("{name} closes {opened:?}"));
                }
                continue;
            }
            elements += 1;
            if tag.matches('"').count() % 2 != 0 || tag.contains("NaN") || tag.contains("inf") {
                return Err(format!("attributes: {tag}"));
            }
            if !tag.ends_with('/') {
                open.push(tag.split(' ').next().ok_or("a name")?);
            }
        }
        if open.is_empty() && rest.trim().is_empty() { Ok(elements) } else { Err(rest.to_owned()) }
    }

    #[test]
    fn the_chart_is_well_formed_and_has_a_bar_for_each_ratio() {
        let servers = || {
            vec![
                measured(Kind::Ours, "ours", &[(200.0, 10.0), (1e9, 10.0)]),
                measured(Kind::Original, "etcd", &[(100.0, 20.0), (100.0, 40.0)]),
            ]
        };
        let lines = work::ALL.iter().map(|work| line(work.name, servers()));
        let judged: Vec<Judged> = lines.flat_map(|line| line.judge()).collect();
        let svg = svg(&judged, "ours & <others>");
        well_formed(&svg).unwrap();
        assert!(svg.contains("ours &amp; &lt;others&gt;"));
        let measured = judged.iter().filter(|one| {
            one.goal.against != Against::Itself && one.verdict != Verdict::NotMeasured
        });
        let bars = svg.matches("<rect").count() - 1;
        assert_eq!(bars, measured.count());
        assert!(bars > 10);
    }

    #[test]
    fn a_chart_of_nothing_is_well_formed_too() {
        assert!(well_formed(&svg(&[], "")).unwrap() > 2);
        assert!(well_formed("<svg><text></svg>").is_err());
        assert!(well_formed("<svg>a & b</svg>").is_err());
    }

    #[test]
    fn half_is_as_far_from_one_as_twice_is_and_nothing_leaves_the_plot() {
        let (half, one, twice) = (place(0.5), place(1.0), place(2.0));
        assert!((one - half - (twice - one)).abs() < 1e-9);
        assert!(place(1e9) <= LABEL_WIDTH + PLOT_WIDTH + 1e-9 && place(0.0) >= LABEL_WIDTH);
    }
}
