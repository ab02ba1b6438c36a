-- What was known about each customer of the spine at its time.
-- Input: spine(customer_id, ts), customers, events. Output: one row for each row of the spine with a known customer.
-- Times are whole seconds since 1970 UTC. An event counts from when it was seen (seen_ts), and every window ends one
-- second before `ts`, so that later information cannot leak into a training row.
WITH timeline AS (
    SELECT customer_id, seen_ts AS ts, ts AS happened, kind, amount, FALSE AS is_spine
    FROM events
    WHERE customer_id IN (SELECT customer_id FROM spine)
    UNION ALL
    SELECT customer_id, ts, CAST(NULL AS BIGINT), CAST(NULL AS VARCHAR), CAST(NULL AS DOUBLE), TRUE
    FROM spine
),

windowed AS (
    SELECT
        customer_id,
        ts,
        is_spine,
        COUNT(CASE WHEN kind = 'visit' THEN 1 END) OVER month AS visits,
        COUNT(CASE WHEN kind = 'purchase' THEN 1 END) OVER month AS purchases,
        SUM(CASE WHEN kind = 'purchase' THEN amount END) OVER month AS spent,
        COUNT(CASE WHEN kind = 'complaint' THEN 1 END) OVER quarter AS complaints,
        MAX(CASE WHEN kind = 'visit' THEN happened END) OVER quarter AS last_visit
    FROM timeline
    WINDOW
        month AS (PARTITION BY customer_id ORDER BY ts RANGE BETWEEN 2592000 PRECEDING AND 1 PRECEDING),
        quarter AS (PARTITION BY customer_id ORDER BY ts RANGE BETWEEN 7776000 PRECEDING AND 1 PRECEDING)
)

SELECT
    w.customer_id,
    w.ts,
    c.plan,
    c.region,
    CAST((w.ts - c.joined) / 86400.0 AS DOUBLE) AS days_with_us,
    CAST(w.visits AS BIGINT) AS visits_30d,
    CAST(w.purchases AS BIGINT) AS purchases_30d,
    CAST(COALESCE(w.spent, 0.0) AS DOUBLE) AS spent_30d,
    CAST(w.complaints AS BIGINT) AS complaints_90d,
    CAST((w.ts - w.last_visit) / 86400.0 AS DOUBLE) AS days_since_visit
FROM windowed AS w
INNER JOIN customers AS c ON w.customer_id = c.customer_id
WHERE w.is_spine
