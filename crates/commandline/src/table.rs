//! Tables with lines around every cell.

/// A table as the original draws it: the head in the middle, the rest to the right.
#[derive(Clone, Debug)]
pub struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(head: &[&str], rows: Vec<Vec<String>>) -> Self {
        let head = head.iter().map(|name| name.replace('_', " ").to_uppercase()).collect();
        Self { head, rows }
    }

    /// One line a row, its cells separated by commas.
    pub fn lines(&self) -> String {
        self.rows.iter().map(|row| row.join(", ") + "\n").collect()
    }

    pub fn drawn(&self) -> String {
        let widths = self.widths();
        let edge = widths.iter().map(|width| "-".repeat(width + 2)).collect::<Vec<_>>().join("+");
        let edge = format!("+{edge}+\n");
        let line = |cells: &[String], place: fn(&str, usize) -> String| {
            let cells = cells.iter().zip(&widths);
            let cells: Vec<_> =
                cells.map(|(cell, &width)| format!(" {} ", place(cell, width))).collect();
            format!("|{}|\n", cells.join("|"))
        };
        let mut drawn = format!("{edge}{}{edge}", line(&self.head, centered));
        for row in &self.rows {
            drawn += &line(row, |cell, width| format!("{cell:>width$}"));
        }
        drawn + &edge
    }

    fn widths(&self) -> Vec<usize> {
        let columns = 0..self.head.len();
        let cells =
            |at: usize| self.rows.iter().chain([&self.head]).filter_map(move |row| row.get(at));
        columns.map(|at| cells(at).map(|cell| cell.chars().count()).max().unwrap_or(0)).collect()
    }
}

fn centered(cell: &str, width: usize) -> String {
    format!("{cell:^width$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_stands_in_the_middle_and_the_rest_to_the_right() {
        let row = ["8e9e05c52164694d", "started", "default"].map(str::to_owned).to_vec();
        let table = Table::new(&["ID", "Status", "Name"], vec![row]);
        assert_eq!(
            table.drawn(),
            "+------------------+---------+---------+\n\
             |        ID        | STATUS  |  NAME   |\n\
             +------------------+---------+---------+\n\
             | 8e9e05c52164694d | started | default |\n\
             +------------------+---------+---------+\n"
        );
        assert_eq!(table.lines(), "8e9e05c52164694d, started, default\n");
    }

    #[test]
    fn a_table_without_rows_is_its_head() {
        let table = Table::new(&["hash_revision"], Vec::new());
        assert_eq!(
            table.drawn(),
            "+---------------+\n| HASH REVISION |\n+---------------+\n+---------------+\n"
        );
    }
}
