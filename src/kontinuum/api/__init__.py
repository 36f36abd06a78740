"""The nouns on every wire: what the words of the API mean, without doing anything about it.

Belongs here: metadata, kinds, schemas, defaults, validation, patches, selectors, codecs; all of it pure.
Does not belong here: I/O of any kind, authorization, storage, or what should happen because of an object.
"""
