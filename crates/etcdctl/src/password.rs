//! Asking for a password at the terminal, unseen.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write as _},
    time::Duration,
};

use rustix::{
    process::{Signal, getpid, kill_process},
    termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr},
};

/// How long a signal to this process may take to end it.
const SIGNAL_TAKES_MAX: Duration = Duration::from_millis(500);

/// Asks for a password at the terminal, whatever stdin and stdout are.
pub(crate) fn ask(prompt: &str) -> io::Result<String> {
    let mut terminal = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
    terminal.write_all(prompt.as_bytes())?;
    let answer = read_unseen(&terminal);
    // The user's own line end was not shown.
    terminal.write_all(b"\n")?;
    answer
}

/// Whoever interrupts it ends the program, once the terminal shows again what is typed.
#[expect(clippy::disallowed_methods, reason = "there is nothing else to do until it ends")]
fn read_unseen(terminal: &File) -> io::Result<String> {
    let hidden = Hidden::start(terminal)?;
    // A terminal gives a line at a time, and none is longer.
    let mut line = [0; 4096];
    let length = Read::read(&mut &*terminal, &mut line)?;
    let [interrupt, quit] = hidden.interrupting();
    drop(hidden);
    let line = line.get(..length).unwrap_or_default();
    let signal = match line.last() {
        Some(last) if *last == interrupt => Signal::INT,
        Some(last) if *last == quit => Signal::QUIT,
        _ => {
            let line = String::from_utf8_lossy(line);
            return Ok(line.trim_end_matches(['\r', '\n']).to_owned());
        }
    };
    kill_process(getpid(), signal)?;
    // Another thread may be the one that it ends; unless it is ignored.
    std::thread::sleep(SIGNAL_TAKES_MAX);
    Err(io::ErrorKind::Interrupted.into())
}

/// Keeps the terminal from showing what is typed, until dropped.
struct Hidden<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Hidden<'a> {
    fn start(terminal: &'a File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut silent = before.clone();
        // What interrupts ends a line instead: a signal would leave the terminal as it is now.
        silent.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        let codes = &mut silent.special_codes;
        codes[SpecialCodeIndex::VEOL] = before.special_codes[SpecialCodeIndex::VINTR];
        codes[SpecialCodeIndex::VEOL2] = before.special_codes[SpecialCodeIndex::VQUIT];
        tcsetattr(terminal, OptionalActions::Flush, &silent)?;
        Ok(Self { terminal, before })
    }

    /// Ctrl-C and Ctrl-\\, if they are not set otherwise.
    fn interrupting(&self) -> [u8; 2] {
        [SpecialCodeIndex::VINTR, SpecialCodeIndex::VQUIT]
            .map(|code| self.before.special_codes[code])
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        // If that fails, the terminal is gone, and nobody can see it.
        tcsetattr(self.terminal, OptionalActions::Now, &self.before).ok();
    }
}
