//! What tests do to the network between the members of a cluster.

use std::net::IpAddr;

use super::{Cluster, network::Network};

impl Cluster {
    /// The network; only clusters in namespaces have one.
    pub fn network(&mut self) -> &mut Network {
        self.network.as_mut().expect("the cluster was started apart")
    }

    fn address(&self, at: usize) -> IpAddr {
        self.members[at].address().ip()
    }

    /// Cuts a member off from all others. Clients still reach it.
    pub fn isolate(&mut self, at: usize) {
        let others: Vec<_> = (0..self.members.len()).filter(|other| *other != at).collect();
        self.cut(&[at], &others);
    }

    /// Cuts a member off from all others and from the clients.
    pub fn isolate_from_all(&mut self, at: usize) {
        self.isolate(at);
        let (member, outside) = (self.address(at), self.network().outside());
        self.network().cut(member, outside);
    }

    /// Cuts between every member of the one set and every one of the other.
    pub fn cut(&mut self, some: &[usize], others: &[usize]) {
        for (one, other) in some.iter().flat_map(|one| others.iter().map(move |two| (*one, *two))) {
            let (one, other) = (self.address(one), self.address(other));
            self.network().cut(one, other);
        }
    }

    /// Drops all that `from` sends to `to`, and nothing of what comes back.
    pub fn cut_one_way(&mut self, from: usize, to: usize) {
        let (from, to) = (self.address(from), self.address(to));
        self.network().cut_one_way(from, to);
    }

    /// Loses so many of a hundred packets between members.
    pub fn lose(&mut self, percent: u8) {
        let addresses: Vec<_> = (0..self.members.len()).map(|at| self.address(at)).collect();
        for (from, to) in
            addresses.iter().flat_map(|one| addresses.iter().map(move |two| (one, two)))
        {
            if from != to {
                self.network().lose(*from, *to, percent);
            }
        }
    }

    /// Makes the lines to all others but this member thin: so many kilobits a second each. What it tells
    /// its own clients, as watchers of what is large, takes nothing of them.
    pub fn throttle(&mut self, at: usize, kilobits: u32) {
        for address in self.others(at) {
            self.network().throttle(address, kilobits);
        }
    }

    pub fn hasten(&mut self, at: usize) {
        for address in self.others(at) {
            self.network().hasten(address);
        }
    }

    fn others(&self, at: usize) -> Vec<IpAddr> {
        (0..self.members.len()).filter(|other| *other != at).map(|at| self.address(at)).collect()
    }

    /// Everything arrives again.
    pub fn heal(&mut self) {
        self.network().heal();
    }
}
