"""Hear what `edgeemo listen --serve` tells, in another program: a line for each utterance.

    edgeemo listen --serve 8011
    python examples/subscribe.py ws://127.0.0.1:8011/events

Needs the extra: pip install 'edgeemo[serve]'. Any library of WebSockets, in any language, does the same.
"""

import json
import sys

from websockets.sync.client import connect


def main(url: str) -> None:
    known = 0
    with connect(url) as lines:
        for line in lines:
            event = json.loads(line)
            # Who comes late is told the last one again.
            if event["event"] == "utterance" and event["utterance"] > known:
                known = event["utterance"]
                print(f"{event['start_s']:.2f}\t{event['end_s']:.2f}\t{event['label'] or event['reason']}")


if __name__ == "__main__":
    main(sys.argv[1])
