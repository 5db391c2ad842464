"""Threads that go on after the main thread has ended, and a function that is called at exit."""

import atexit
import os
import sys
import threading

import requests

URL, main_has_ended = os.environ["OAUTH_API_URL"], threading.Event()


def work():
    threading.main_thread().join()
    sys.stdout.write(f"thread {requests.get(f'{URL}/late').status_code}\n")


atexit.register(lambda: print("atexit", requests.get(f"{URL}/last").status_code))
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
print("main ends", flush=True)
