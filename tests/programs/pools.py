"""Process pools of each start method, whose workers import requests by themselves."""

import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor


def work(number):
    import requests

    return requests.get(f"{os.environ['OAUTH_API_URL']}/{number}").status_code


if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        print(*pool.map(work, range(4)))
