"""What objects use of a ResourceQuota. Pure: admission and the controller that counts come to the same.

What does not belong here: who may use how much more (``apiserver.quota``), and writing it down (``controllers``).
"""
