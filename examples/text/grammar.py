"""Writes sentences of a small grammar, always the same ones: `python3 grammar.py > grammar.txt`.

Verbs agree with their nouns, also past a clause that stands between them, so a model that has
learnt the text knows more than which letter follows which.
"""

import random

SENTENCES = 2000
DEPTH = 2  # clauses within clauses

NOUNS = ["cat", "dog", "bird", "horse", "child", "king"]
PLURALS = {"child": "children"}
ADJECTIVES = ["small", "tall", "brave", "quiet"]
ALONE = ["sleeps", "sings", "runs", "waits"]
WITH_OBJECT = ["sees", "hears", "follows", "knows"]
DETERMINERS = {False: ["the", "a", "every"], True: ["the", "two", "some"]}

chance = random.Random(7)


def one_of(words):
    # `random()` alone is promised to give the same numbers in every version of Python.
    return words[int(chance.random() * len(words))]


def noun_phrase(plural, depth):
    words = [one_of(DETERMINERS[plural])]
    if chance.random() < 0.3:
        words.append(one_of(ADJECTIVES))
    noun = one_of(NOUNS)
    words.append(PLURALS.get(noun, noun + "s") if plural else noun)
    if depth < DEPTH and chance.random() < 0.25:
        words += ["that", *verb_phrase(plural, depth + 1)]
    return words


def verb_phrase(plural, depth):
    takes_object = chance.random() < 0.6
    verb = one_of(WITH_OBJECT if takes_object else ALONE)
    words = [verb[:-1] if plural else verb]
    if takes_object:
        words += noun_phrase(chance.random() < 0.5, depth + 1)
    return words


for _ in range(SENTENCES):
    plural = chance.random() < 0.5
    print(" ".join(noun_phrase(plural, 0) + verb_phrase(plural, 0)) + ".")
