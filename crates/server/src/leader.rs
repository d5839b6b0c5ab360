//! What only the leader can answer: it is asked, whoever it is.

use std::time::Duration;

use base::MemberId;
use peer::{Answer, Question};
use tokio::time;

use crate::{Handle, Unserved};

/// Between two looks who leads, and between two questions.
const LOOK: Duration = Duration::from_millis(50);

/// What came of asking one member.
#[derive(Debug)]
pub(crate) enum Asked<T> {
    Answered(T),
    /// It does not lead, or not any more, or cannot be reached.
    Again,
}

impl Handle {
    /// Asks the leader until it answers: `here` if it is this member, else over the network. As long
    /// as a write may take.
    pub(crate) async fn ask_leader<T, H>(
        &self,
        here: impl Fn() -> H + Send,
        question: Question,
        there: impl Fn(Answer) -> Asked<T> + Send,
    ) -> Result<T, Unserved>
    where
        H: Future<Output = Asked<T>> + Send,
    {
        let ask = async {
            loop {
                let asked = match self.status().leader {
                    None => Asked::Again,
                    Some(leader) if leader == self.member_id() => here().await,
                    Some(leader) => {
                        self.ask(leader, question.clone()).await.map_or(Asked::Again, &there)
                    }
                };
                if let Asked::Answered(answer) = asked {
                    return answer;
                }
                time::sleep(LOOK).await;
            }
        };
        let mut stopped = self.shared.stopped.subscribe();
        tokio::select! {
            asked = time::timeout(self.shared.config.request_timeout(), ask) => {
                asked.map_err(|_| self.why_unanswered())
            }
            _ = stopped.wait_for(|stopped| *stopped) => Err(Unserved::Stopped),
        }
    }

    /// `None`: it does not answer, or somebody else leads meanwhile.
    async fn ask(&self, leader: MemberId, question: Question) -> Option<Answer> {
        let path = question.path.clone();
        let asking = self.peers()?.ask(leader, question);
        let deposed = async {
            while self.status().leader == Some(leader) {
                time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            answer = asking => match answer {
                Ok(answer) => Some(answer),
                Err(why) => {
                    tracing::debug!(%leader, path, "the leader does not answer: {why}");
                    None
                }
            },
            () = deposed => None,
        }
    }

    fn why_unanswered(&self) -> Unserved {
        if self.status().leader.is_none() { Unserved::NoLeader } else { Unserved::Timeout }
    }
}
