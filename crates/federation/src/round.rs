//! One round: a cohort trains, its updates come in, the round closes.
//!
//! A pure state machine. It is fed with verdicts, failures and the time, and says what should
//! happen next; the caller does it and keeps the facts. Built again from the same facts, it says
//! the same.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{ClientId, Digest, Timestamp};

/// Attempts at one client's work in one round, before the client is given up for it.
pub const ATTEMPTS_MAX: u32 = 5;

/// Where a round is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The cohort is being chosen.
    Selecting,
    /// Updates come in.
    Training,
    /// Closed; the new parameters are being made.
    Aggregating,
    /// The new parameters stand and are being measured.
    Evaluating,
    /// The checkpoint stands.
    Committed,
    /// Ended without a model.
    Abandoned,
}

impl Phase {
    /// Every phase, in the order of a life.
    pub const ALL: [Self; 6] = [
        Self::Selecting,
        Self::Training,
        Self::Aggregating,
        Self::Evaluating,
        Self::Committed,
        Self::Abandoned,
    ];

    /// The word for the phase, as stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Selecting => "selecting",
            Self::Training => "training",
            Self::Aggregating => "aggregating",
            Self::Evaluating => "evaluating",
            Self::Committed => "committed",
            Self::Abandoned => "abandoned",
        }
    }
}

/// What was decided when the round was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// From 1.
    pub number: u32,
    /// Who was asked, ascending.
    pub cohort: Vec<ClientId>,
    /// How many must report.
    pub quorum: usize,
    /// The parameters that training starts from.
    pub base: Digest,
    /// Size of one update.
    pub update_bytes: u64,
    /// When the round opened.
    pub opened_at: Timestamp,
    /// When it closes with what it has, on the clock that is told to [`Round::tick`].
    pub deadline: Timestamp,
}

/// What should happen next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Queue these clients' work, each in this attempt.
    Dispatch(Vec<(ClientId, u32)>),
    /// Close the round and fold what was accepted.
    Aggregate,
    /// End the round without a model; [`Round::abandoned`] says why.
    Abandon,
}

/// Why a round ended without a model.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Abandoned {
    /// Too many clients were given up.
    #[error(
        "{lost} of {cohort} clients were given up, so that {quorum} updates cannot be reached; the last failure: {last}"
    )]
    QuorumUnreachable {
        /// Clients given up.
        lost: usize,
        /// Clients asked.
        cohort: usize,
        /// Updates needed.
        quorum: usize,
        /// What happened last, for a person.
        last: String,
    },
    /// The deadline came first.
    #[error("{received} of the {quorum} updates needed were there at the deadline")]
    DeadlineMissed {
        /// Updates accepted.
        received: usize,
        /// Updates needed.
        quorum: usize,
    },
}

/// A round and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Round {
    plan: Plan,
    phase: Phase,
    /// In the order of the cohort.
    members: Vec<Member>,
    /// Of them, those whose update was accepted, and those given up.
    num_received: usize,
    num_lost: usize,
    abandoned: Option<Abandoned>,
}

/// What is known of one client of the cohort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Member {
    attempt: u32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Awaited,
    Received,
    Lost,
}

impl Round {
    /// Opens the round: the first effect dispatches the whole cohort.
    #[must_use]
    pub fn open(plan: Plan) -> (Self, Effect) {
        let member = Member {
            attempt: 1,
            state: State::Awaited,
        };
        let round = Self {
            members: vec![member; plan.cohort.len()],
            plan,
            phase: Phase::Training,
            num_received: 0,
            num_lost: 0,
            abandoned: None,
        };
        let dispatch = round.dispatch_missing();
        (round, dispatch)
    }

    /// The round as the stored facts show it, after a restart: `attempts` as last dispatched,
    /// `received` from whom an update was accepted, and whether it was `closed` by then.
    ///
    /// What was queued before is unknown, so the effect dispatches every client that is missing.
    #[must_use]
    pub fn restore(
        plan: Plan,
        attempts: &BTreeMap<ClientId, u32>,
        received: &BTreeSet<ClientId>,
        closed: bool,
    ) -> (Self, Effect) {
        let (mut round, _) = Self::open(plan);
        for (&client, &attempt) in attempts {
            if let Some(member) = round.member(client) {
                member.attempt = attempt;
            }
        }
        for &client in received {
            round.settle(client, State::Received);
        }
        let effect = match closed {
            true => Some(round.close()),
            false => round.close_if_complete(),
        };
        let effect = effect.unwrap_or_else(|| round.dispatch_missing());
        (round, effect)
    }

    fn dispatch_missing(&self) -> Effect {
        let members = self.plan.cohort.iter().zip(&self.members);
        let missing = members.filter(|(_, member)| member.state != State::Received);
        Effect::Dispatch(
            missing
                .map(|(&client, member)| (client, member.attempt))
                .collect(),
        )
    }

    fn known(&self, client: ClientId) -> Option<Member> {
        let position = self.plan.cohort.binary_search(&client).ok()?;
        self.members.get(position).copied()
    }

    fn member(&mut self, client: ClientId) -> Option<&mut Member> {
        let position = self.plan.cohort.binary_search(&client).ok()?;
        self.members.get_mut(position)
    }

    /// Brings a client of the cohort to `state`.
    fn settle(&mut self, client: ClientId, state: State) {
        let Some(member) = self.member(client) else {
            return;
        };
        let before = std::mem::replace(&mut member.state, state);
        self.num_received += usize::from(state == State::Received);
        self.num_received -= usize::from(before == State::Received);
        self.num_lost += usize::from(state == State::Lost);
        self.num_lost -= usize::from(before == State::Lost);
    }

    /// The accepted update of `client` turned out to be damaged: its work is done again.
    pub fn revoke(&mut self, client: ClientId) -> Option<Effect> {
        if !self.has_update(client) {
            return None;
        }
        self.settle(client, State::Awaited);
        self.phase = Phase::Training;
        let member = self.member(client)?;
        member.attempt += 1;
        let attempt = member.attempt;
        Some(Effect::Dispatch(vec![(client, attempt)]))
    }

    /// Moves the deadline, for time in which nobody could have worked.
    pub fn postpone(&mut self, deadline: Timestamp) {
        self.plan.deadline = self.plan.deadline.max(deadline);
    }

    /// An update of `client` was accepted.
    pub fn receive(&mut self, client: ClientId) -> Option<Effect> {
        if self.phase != Phase::Training {
            return None;
        }
        self.settle(client, State::Received);
        self.close_if_complete()
    }

    /// The attempt at `client`'s work came to nothing. An old attempt changes nothing.
    pub fn fail(
        &mut self,
        client: ClientId,
        attempt: u32,
        retryable: bool,
        message: &str,
    ) -> Option<Effect> {
        let phase = self.phase;
        let member = self.member(client)?;
        if phase != Phase::Training || attempt != member.attempt || member.state != State::Awaited {
            return None;
        }
        if retryable && attempt < ATTEMPTS_MAX {
            member.attempt += 1;
            return Some(Effect::Dispatch(vec![(client, attempt + 1)]));
        }
        self.settle(client, State::Lost);
        if self.plan.cohort.len() - self.num_lost < self.plan.quorum {
            return Some(self.abandon(Abandoned::QuorumUnreachable {
                lost: self.num_lost,
                cohort: self.plan.cohort.len(),
                quorum: self.plan.quorum,
                last: message.to_owned(),
            }));
        }
        self.close_if_complete()
    }

    /// Time passed. At the deadline the round closes with what it has, if that is enough.
    pub fn tick(&mut self, now: Timestamp) -> Option<Effect> {
        if self.phase != Phase::Training || now < self.plan.deadline {
            return None;
        }
        if self.num_received >= self.plan.quorum {
            return Some(self.close());
        }
        Some(self.abandon(Abandoned::DeadlineMissed {
            received: self.num_received,
            quorum: self.plan.quorum,
        }))
    }

    // Nobody that could still report is waited for in vain, and nobody that could is left out:
    // a round closes early only when all of the cohort have reported or been given up.
    fn close_if_complete(&mut self) -> Option<Effect> {
        let settled = self.num_received + self.num_lost;
        let complete = settled >= self.plan.cohort.len() && self.num_received >= self.plan.quorum;
        complete.then(|| self.close())
    }

    fn close(&mut self) -> Effect {
        self.phase = Phase::Aggregating;
        Effect::Aggregate
    }

    fn abandon(&mut self, why: Abandoned) -> Effect {
        self.phase = Phase::Abandoned;
        self.abandoned = Some(why);
        Effect::Abandon
    }

    /// From 1.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.plan.number
    }

    /// Where the round is in its life.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Why the round ended without a model, if it did.
    #[must_use]
    pub fn abandoned(&self) -> Option<&Abandoned> {
        self.abandoned.as_ref()
    }

    /// What was decided when it opened.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Who was asked, ascending.
    #[must_use]
    pub fn cohort(&self) -> &[ClientId] {
        &self.plan.cohort
    }

    /// The parameters that training starts from.
    #[must_use]
    pub fn base(&self) -> Digest {
        self.plan.base
    }

    /// Size of one update.
    #[must_use]
    pub fn update_bytes(&self) -> u64 {
        self.plan.update_bytes
    }

    /// Whether an update of `client` was accepted.
    #[must_use]
    pub fn has_update(&self, client: ClientId) -> bool {
        self.known(client)
            .is_some_and(|member| member.state == State::Received)
    }

    /// The attempt that `client`'s work is in.
    #[must_use]
    pub fn attempt(&self, client: ClientId) -> Option<u32> {
        self.known(client).map(|member| member.attempt)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn clients(numbers: &[u32]) -> Vec<ClientId> {
        numbers.iter().copied().map(ClientId).collect()
    }

    fn plan(cohort: &[u32], quorum: usize) -> Plan {
        Plan {
            number: 1,
            cohort: clients(cohort),
            quorum,
            base: Digest::of(b"base"),
            update_bytes: 8,
            opened_at: Timestamp(0),
            deadline: Timestamp(0).after(Duration::from_secs(60)),
        }
    }

    #[test]
    fn a_round_closes_when_the_whole_cohort_has_reported() {
        let (mut round, effect) = Round::open(plan(&[0, 1], 1));
        assert_eq!(
            effect,
            Effect::Dispatch(vec![(ClientId(0), 1), (ClientId(1), 1)])
        );
        assert_eq!(
            round.receive(ClientId(1)),
            None,
            "a quorum alone does not close it early"
        );
        assert_eq!(round.receive(ClientId(0)), Some(Effect::Aggregate));
        assert_eq!(
            round.receive(ClientId(0)),
            None,
            "a closed round ignores updates"
        );
    }

    #[test]
    fn at_its_deadline_a_round_closes_with_a_quorum() {
        let (mut round, _) = Round::open(plan(&[0, 1, 2], 2));
        round.receive(ClientId(2));
        round.receive(ClientId(0));
        assert_eq!(round.tick(Timestamp(59_999)), None);
        assert_eq!(round.tick(Timestamp(60_000)), Some(Effect::Aggregate));
    }

    #[test]
    fn at_its_deadline_a_round_without_a_quorum_is_abandoned() {
        let (mut round, _) = Round::open(plan(&[0, 1, 2], 2));
        round.receive(ClientId(2));
        let expected = Abandoned::DeadlineMissed {
            received: 1,
            quorum: 2,
        };
        assert_eq!(round.tick(Timestamp(60_000)), Some(Effect::Abandon));
        assert_eq!(round.abandoned(), Some(&expected));
    }

    #[test]
    fn a_failed_attempt_is_dispatched_again_and_an_old_one_is_not() {
        let (mut round, _) = Round::open(plan(&[0, 1], 2));
        let again = Effect::Dispatch(vec![(ClientId(1), 2)]);
        assert_eq!(round.fail(ClientId(1), 1, true, "no"), Some(again));
        assert_eq!(round.fail(ClientId(1), 1, true, "no"), None);
    }

    #[test]
    fn a_client_that_cannot_succeed_is_given_up_and_the_rest_is_enough() {
        let (mut round, _) = Round::open(plan(&[0, 1, 2], 2));
        round.receive(ClientId(0));
        assert_eq!(round.fail(ClientId(2), 1, false, "diverged"), None);
        assert_eq!(round.receive(ClientId(1)), Some(Effect::Aggregate));
    }

    #[test]
    fn a_quorum_out_of_reach_abandons_the_round_with_the_last_failure() {
        let (mut round, _) = Round::open(plan(&[0, 1], 2));
        for attempt in 1..ATTEMPTS_MAX {
            assert!(matches!(
                round.fail(ClientId(0), attempt, true, "x"),
                Some(Effect::Dispatch(_))
            ));
        }
        let effect = round.fail(ClientId(0), ATTEMPTS_MAX, true, "no disk");
        assert_eq!(effect, Some(Effect::Abandon));
        let why = round.abandoned().expect("an abandoned round says why");
        assert_eq!(
            why.to_string(),
            "1 of 2 clients were given up, so that 2 updates cannot be reached; the last failure: \
             no disk"
        );
    }

    #[test]
    fn a_restored_round_dispatches_whoever_is_missing_in_the_attempt_it_was_in() {
        let attempts = BTreeMap::from([(ClientId(1), 3)]);
        let received = BTreeSet::from([ClientId(0)]);
        let (_, effect) = Round::restore(plan(&[0, 1, 2], 3), &attempts, &received, false);
        let missing = vec![(ClientId(1), 3), (ClientId(2), 1)];
        assert_eq!(effect, Effect::Dispatch(missing));
    }

    #[test]
    fn a_restored_round_that_was_complete_closes_at_once() {
        let received = BTreeSet::from([ClientId(0), ClientId(1)]);
        let (round, effect) = Round::restore(plan(&[0, 1], 2), &BTreeMap::new(), &received, false);
        assert_eq!(effect, Effect::Aggregate);
        assert_eq!(round.phase(), Phase::Aggregating);
    }

    #[test]
    fn a_round_restored_as_closed_waits_for_nobody() {
        let received = BTreeSet::from([ClientId(0)]);
        let (round, effect) = Round::restore(plan(&[0, 1], 1), &BTreeMap::new(), &received, true);
        assert_eq!(effect, Effect::Aggregate);
        assert_eq!(round.phase(), Phase::Aggregating);
    }

    #[test]
    fn a_revoked_update_is_done_again() {
        let (mut round, _) = Round::open(plan(&[0, 1], 2));
        round.receive(ClientId(0));
        round.receive(ClientId(1));
        let again = Effect::Dispatch(vec![(ClientId(1), 2)]);
        assert_eq!(round.revoke(ClientId(1)), Some(again));
        assert_eq!(round.phase(), Phase::Training);
        assert_eq!(round.receive(ClientId(1)), Some(Effect::Aggregate));
    }

    #[test]
    fn a_postponed_deadline_never_comes_closer() {
        let (mut round, _) = Round::open(plan(&[0], 1));
        round.postpone(Timestamp(90_000));
        round.postpone(Timestamp(70_000));
        assert_eq!(round.tick(Timestamp(89_999)), None);
    }
}
