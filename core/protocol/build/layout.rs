//! Indents what was generated, so that it reads like code when an error or a debugger leads there.

/// Rust whose lines are indented by the lines before them that have left brackets open.
///
/// Brackets within string literals count too; those that are generated have none that are not closed.
pub(crate) fn indented(code: &str) -> String {
    let mut out = String::with_capacity(2 * code.len());
    // For each line that is still open, how many brackets it left open.
    let mut open: Vec<usize> = Vec::new();
    for line in code.lines().map(str::trim) {
        let indent = open.len() - usize::from(line.starts_with(['}', ')', ']']));
        if !line.is_empty() {
            out.extend(std::iter::repeat_n("    ", indent));
        }
        out.push_str(line);
        out.push('\n');
        let opened = line.matches(['{', '(', '[']).count();
        let mut closed = line.matches(['}', ')', ']']).count();
        if opened > closed {
            open.push(opened - closed);
            continue;
        }
        closed -= opened;
        while closed > 0 {
            closed = closed.saturating_sub(open.pop().unwrap_or(closed));
        }
    }
    out
}
