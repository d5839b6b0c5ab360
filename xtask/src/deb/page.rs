//! A manual page of what `--help` prints.

/// `help`: titles at the margin with a colon, flags two columns in, what they mean further in.
pub(super) fn of_help(program: &str, help: &str) -> String {
    let mut lines = help.lines();
    let about = lines.next().unwrap_or_default();
    let about = about.strip_prefix(&format!("{program}: ")).unwrap_or(about);
    let title = program.to_uppercase();
    let mut page =
        format!(".TH {title} 1\n.SH NAME\n{program} \\- {}\n.SH DESCRIPTION\n", escaped(about));
    for line in lines {
        let text = line.trim_start();
        match line.len() - text.len() {
            0 if text.is_empty() => page.push_str(".PP\n"),
            0 if text.ends_with(':') => {
                page.push_str(&format!(".SH \"{}\"\n", escaped(text.trim_end_matches(':'))));
            }
            2 => page.push_str(&format!(".TP\n.B {}\n", escaped(text))),
            _ => page.push_str(&format!("{}\n", escaped(text))),
        }
    }
    page
}

/// What roff takes for itself.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_a_list_and_titles_are_titles() {
        let help = "x: does it\n\nUsage:\n\n  x [flags]\n\nMember:\n  --name 'a'\n      A name,\n      .or so.\n";
        let page = of_help("x", help);
        let expected = ".TH X 1\n.SH NAME\nx \\- does it\n.SH DESCRIPTION\n.PP\n.SH \"Usage\"\n.PP\n\
                        .TP\n.B x [flags]\n.PP\n.SH \"Member\"\n.TP\n.B \\-\\-name 'a'\nA name,\n\\&.or so.\n";
        assert_eq!(page, expected);
    }
}
