"""Monthly figures of daily weather."""

import csv
from collections import Counter, defaultdict
from statistics import mean

from dateutil import parser

CHARTS = [
    ("Temperature", "°C", ["highest", "mean", "lowest"]),
    ("Precipitation", "mm", ["precipitation"]),
    ("Wind", "m/s", ["wind"]),
    ("Days of rain and snow", "days", ["wet_days"]),
]


def handle(inputs, ctx):
    months = defaultdict(list)
    with open(inputs["data"], newline="", encoding="utf-8") as f:
        for number, row in enumerate(csv.DictReader(f), start=2):
            try:
                day = parser.parse(row["date"])
                months[day.strftime("%Y-%m")].append(
                    (float(row["temp_max"]), float(row["temp_min"]), float(row["precipitation"]), float(row["wind"]), row["weather"])
                )
            except (KeyError, TypeError, ValueError) as error:
                raise BadData(f"line {number} of the CSV cannot be read: {error}") from error
    if not months:
        raise BadData("the CSV holds no days")
    figures = [figure(month, days) for month, days in sorted(months.items())]
    print(f"{sum(len(d) for d in months.values())} days of {inputs['city']} in {len(figures)} months")
    ctx.progress(1, f"{len(figures)} months")
    charts = [
        {"title": f"{title} in {inputs['city']}", "unit": unit, "series": series,
         "values": [{"month": f["month"], **{s: f[s] for s in series}} for f in figures]}
        for title, unit, series in CHARTS
    ]
    return {"rows": len(figures), "charts": charts}


def figure(month, days):
    kinds = Counter(day[4] for day in days)
    return {
        "month": month,
        "highest": max(d[0] for d in days),
        "mean": round(mean((d[0] + d[1]) / 2 for d in days), 1),
        "lowest": min(d[1] for d in days),
        "precipitation": round(sum(d[2] for d in days), 1),
        "wind": round(mean(d[3] for d in days), 1),
        "wet_days": kinds["rain"] + kinds["snow"] + kinds["drizzle"],
    }


class BadData(Exception):
    kind = "bad_data"
    code = "422"
