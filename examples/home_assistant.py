"""Tell Home Assistant of the sensors that `edgeemo listen --mqtt` feeds.

    edgeemo listen --mqtt mqtt://me:password@broker/home/edgeemo
    python examples/home_assistant.py mqtt://me:password@broker/home/edgeemo

Once is enough: the broker keeps it. Needs the extra: pip install 'edgeemo[mqtt]'.
"""

import json
import sys
from urllib.parse import unquote, urlsplit

from paho.mqtt.client import CallbackAPIVersion, Client

SENSORS = {
    "Emotion": {"value_template": "{{ value_json.label or value_json.reason }}"},
    "Arousal": {"value_template": "{{ value_json.arousal }}", "state_class": "measurement"},
}


def sensors(topic: str) -> dict[str, dict[str, object]]:
    one = topic.replace("/", "_")
    return {
        f"homeassistant/sensor/{one}/{name.lower()}/config": {
            "name": name,
            "unique_id": f"{one}_{name.lower()}",
            "device": {"name": "edgeemo", "identifiers": [one]},
            "state_topic": f"{topic}/utterance",
            "availability_topic": f"{topic}/availability",
            **more,
        }
        for name, more in SENSORS.items()
    }


def main(url: str) -> None:
    broker = urlsplit(url)
    client = Client(CallbackAPIVersion.VERSION2)
    if broker.username:
        client.username_pw_set(unquote(broker.username), unquote(broker.password or ""))
    client.connect(broker.hostname or "", broker.port or 1883)
    client.loop_start()
    for topic, sensor in sensors(broker.path.strip("/")).items():
        client.publish(topic, json.dumps(sensor), qos=1, retain=True).wait_for_publish()
        print(sensor["name"])
    client.disconnect()


if __name__ == "__main__":
    main(sys.argv[1])
